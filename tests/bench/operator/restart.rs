//! From an operator's start to its first dispatch, among many unfinished jobs.

use crate::Arguments;
use anyhow::anyhow;
use fovea_harness::eventually;
use fovea_tests::measure::{kib, median, memory_bytes, processor_ms};
use fovea_tests::operated::PATIENCE;
use fovea_tests::{Operated, Options, crowd};
use std::time::Instant;

/// From the start of a program to its first dispatch.
#[derive(Clone, Copy, Debug)]
struct Restart {
    seconds: f64,
    /// Processor time of the operator until then.
    processor_ms: f64,
    memory_mib: f64,
}

/// Times the operator's start with many unfinished jobs; in turns with `--base`, where it is given.
pub(crate) async fn time(arguments: &Arguments) -> anyhow::Result<()> {
    let count = arguments.idle;
    eprintln!("restarts with {count} unfinished jobs");
    let ours = arguments.options();
    let operated = Operated::start(ours.clone()).await?;
    operated.operator.terminate().await?;
    let jobs = (0..count).map(|number| Operated::job(&format!("waiting-{number}"), "a picture"));
    crowd::create(&operated.jobs, jobs).await?;
    let mut sides = vec![("fovea-operator", ours.clone(), Vec::new())];
    if let Some(Options { program, .. }) = arguments.base() {
        sides.push(("base", Options { program, ..ours }, Vec::new()));
    }
    for round in 0..=arguments.rounds {
        for step in 0..sides.len() {
            let side = (round + step) % sides.len();
            let (name, options, restarts) = &mut sides[side];
            let restart = restart(&operated, options).await?;
            eprintln!("restart {round}, {name}: {restart:?}");
            // The first one warms up.
            if round > 0 {
                restarts.push(restart);
            }
        }
    }
    println!(
        "\n| a restart with {count} unfinished jobs | first dispatch, s | processor, ms | memory then, MiB | ours over it |"
    );
    println!("|---|---|---|---|---|");
    for (name, _, restarts) in &sides {
        let of = |what: fn(&Restart) -> f64| median(restarts.iter().map(what).collect());
        let turns = sides[0].2.iter().zip(restarts);
        let ratios = turns.map(|(ours, theirs)| ours.seconds / theirs.seconds);
        println!(
            "| {name} | {:.2} | {:.0} | {:.0} | **{:.2}** |",
            of(|restart| restart.seconds),
            of(|restart| restart.processor_ms),
            of(|restart| restart.memory_mib),
            median(ratios.collect()),
        );
    }
    Ok(())
}

/// Starts an operator among the jobs of `operated`, and ends it after its first dispatch.
async fn restart(operated: &Operated, options: &Options) -> anyhow::Result<Restart> {
    let before = operated.runner.attempts().len();
    let began = Instant::now();
    let operator = operated.another_operator(options, None).await?;
    let first = eventually("the first attempt", PATIENCE, async || {
        let attempts = operated.runner.attempts().len();
        (attempts > before)
            .then_some(())
            .ok_or_else(|| anyhow!("none yet"))
    });
    first.await?;
    let restart = Restart {
        seconds: began.elapsed().as_secs_f64(),
        processor_ms: processor_ms(operator.pid())?,
        memory_mib: kib(memory_bytes(operator.pid())?, 1024),
    };
    operator.terminate().await?;
    Ok(restart)
}
