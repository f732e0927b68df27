//! Two builds in turns, each on a control plane with its own definitions: jobs per second, processor time of the
//! API server and the operator for each job, and one job at rest.

use crate::Arguments;
use crate::round_trips::one_after_another;
use crate::throughput::{as_f64, drain};
use fovea_tests::measure::{median, percentile, processor_ms};
use fovea_tests::{Operated, Options};

struct Build {
    name: &'static str,
    operated: Operated,
    turns: Vec<Turn>,
}

struct Turn {
    per_second: f64,
    /// Processor time for each job, in milliseconds.
    api_server: f64,
    operator: f64,
    /// Median duration of a job that is alone, in milliseconds.
    at_rest: f64,
}

/// Prints the medians of the turns, and of the ratios of turns.
pub(crate) async fn compare(arguments: &Arguments, base: Options) -> anyhow::Result<()> {
    eprintln!(
        "starting two of each: etcd, kube-apiserver, kube-controller-manager, MinIO, operator"
    );
    let mut builds = Vec::new();
    for (name, options) in [("base", base), ("this build", arguments.options())] {
        let operated = Operated::start(options).await?;
        builds.push(Build {
            name,
            operated,
            turns: Vec::new(),
        });
    }
    for round in 0..=arguments.rounds {
        for step in 0..builds.len() {
            let number = (round + step) % builds.len();
            let build = &mut builds[number];
            eprintln!("{}, turn {round} of {}", build.name, arguments.rounds);
            let turn = build.turn(round, arguments).await?;
            // The first one warms up.
            if round > 0 {
                build.turns.push(turn);
            }
        }
    }
    print(&builds, arguments.jobs);
    Ok(())
}

impl Build {
    async fn turn(&self, round: usize, arguments: &Arguments) -> anyhow::Result<Turn> {
        let pids = [
            self.operated.control_plane.api_server_pid(),
            self.operated.operator.pid(),
        ];
        let [api_server, operator] = pids.map(processor_ms);
        let (before_api_server, before_operator) = (api_server?, operator?);
        let (per_second, _) = drain(&self.operated, round, arguments.jobs).await?;
        let [api_server, operator] = pids.map(processor_ms);
        let jobs = as_f64(arguments.jobs);
        let single = arguments.single.div_ceil(arguments.rounds.max(1));
        let spans = one_after_another(&self.operated, round, single).await?;
        Ok(Turn {
            per_second,
            api_server: (api_server? - before_api_server) / jobs,
            operator: (operator? - before_operator) / jobs,
            at_rest: percentile(spans, 50),
        })
    }
}

fn print(builds: &[Build], jobs: usize) {
    println!(
        "| {jobs} jobs that do nothing | jobs/s | API server, ms a job | operator, ms a job | one job at rest, p50, ms |"
    );
    println!("|---|---|---|---|---|");
    let what: [fn(&Turn) -> f64; 4] = [
        |turn| turn.per_second,
        |turn| turn.api_server,
        |turn| turn.operator,
        |turn| turn.at_rest,
    ];
    for Build { name, turns, .. } in builds {
        let [rate, api_server, operator, at_rest] =
            what.map(|what| median(turns.iter().map(what).collect()));
        println!("| {name} | {rate:.0} | {api_server:.2} | {operator:.2} | {at_rest:.1} |");
    }
    let [base, ours] = builds else { return };
    let [rate, api_server, operator, at_rest] = what.map(|what| {
        let turns = ours.turns.iter().zip(&base.turns);
        median(turns.map(|(ours, base)| what(ours) / what(base)).collect())
    });
    println!("| ratio | **{rate:.2}** | **{api_server:.2}** | {operator:.2} | **{at_rest:.2}** |");
}
