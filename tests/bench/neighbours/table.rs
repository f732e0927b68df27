//! What was measured, as a table.

use crate::limits::Limits;
use crate::side::{Measured, Side};
use fovea_tests::measure::median;
use fovea_tests::neighbours::Kind;

pub(crate) fn print(sides: &[Side], limits: &Limits) {
    print!("| beside |");
    for Side { name, .. } in sides {
        print!(
            " {name}: per second (to alone) | p50, p99, ms (p99 to alone) | refused, lost | the hostile one: held, refused | operator, API, MiB |"
        );
    }
    println!("\n|---|{}", "---|".repeat(5 * sides.len()));
    row(sides, "nobody", None);
    for kind in Kind::ALL {
        if sides
            .iter()
            .any(|side| side.of(Some(kind)).next().is_some())
        {
            row(sides, kind.name(), Some(kind));
        }
    }
    if let [base, this] = sides {
        let alone = |side: &Side| middle(side, None, |turn| turn.per_second);
        println!("\nalone, this to base: {:.2}", alone(this) / alone(base));
    }
    let Limits { operator, api } = *limits;
    println!("the chart's memory limits: operator {operator:.0} MiB, API {api:.0} MiB");
    for side in sides {
        let over = |turn: &&Measured| turn.operator_mib > operator || turn.api_mib > api;
        for turn in side.turns.iter().filter(over) {
            let kind = turn.kind.map_or("nobody", Kind::name);
            println!("over a limit: {}, beside {kind}", side.name);
        }
    }
}

fn row(sides: &[Side], name: &str, kind: Option<Kind>) {
    print!("| {name} |");
    for side in sides {
        let of = |what: fn(&Measured) -> f64| middle(side, kind, what);
        let alone = |what: fn(&Measured) -> f64| middle(side, None, what);
        let rate = of(|turn| turn.per_second);
        let p99 = of(|turn| turn.p99_ms);
        let sum = |what: fn(&Measured) -> usize| side.of(kind).map(what).sum::<usize>();
        let most = |what: fn(&Measured) -> f64| side.of(kind).map(what).fold(0.0, f64::max);
        let held = |turn: &Measured| turn.hostile.map_or(0, |toll| toll.held);
        let refused = |turn: &Measured| turn.hostile.map_or(0, |toll| toll.refused);
        print!(
            " {rate:.1} (**{:.2}**) | {:.0}, {p99:.0} (**{:.1}**) | {}, {} | {}, {} | {:.0}, {:.0} |",
            rate / alone(|turn| turn.per_second),
            of(|turn| turn.p50_ms),
            p99 / alone(|turn| turn.p99_ms),
            sum(|turn| turn.refused),
            sum(|turn| turn.lost),
            side.of(kind).map(held).max().unwrap_or_default(),
            side.of(kind).map(refused).sum::<usize>(),
            most(|turn| turn.operator_mib),
            most(|turn| turn.api_mib),
        );
    }
    println!();
}

fn middle(side: &Side, kind: Option<Kind>, what: fn(&Measured) -> f64) -> f64 {
    median(side.of(kind).map(what).collect())
}
