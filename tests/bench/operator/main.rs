//! Times jobs through custom resources against Celery with Redis, in turns on one machine, and weighs
//! what finished and unfinished jobs cost the operator. With another build it compares the two builds instead,
//! the API server's work for each job among the rest. The runner does nothing.
//!
//!     make bench-operator (ROUNDS=5 JOBS=2000 IDLE=10000 RESTARTS=1 BASE=<folder>)

mod builds;
mod idle;
mod peer;
mod restart;
mod round_trips;
mod throughput;
mod watched;

use clap::Parser;
use fovea_tests::{Operated, Options};
use peer::Peer;
use std::path::PathBuf;

/// Concurrent requests of the runner.
const SLOTS: u32 = 64;

/// Flags of the benchmark, which `make bench-operator` passes.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// The program, built for release.
    #[arg(long)]
    operator: PathBuf,
    /// A Python that has requirements.txt.
    #[arg(long)]
    python: PathBuf,
    /// Program of the broker that the peer uses.
    #[arg(long, default_value = "redis-server")]
    redis: PathBuf,
    /// Number of turns of each side.
    #[arg(long, default_value = "5")]
    rounds: usize,
    /// Number of jobs in a turn.
    #[arg(long, default_value = "2000")]
    jobs: usize,
    /// Jobs that go one after another.
    #[arg(long, default_value = "200")]
    single: usize,
    /// Finished jobs that are weighed, and unfinished ones that a restart meets.
    #[arg(long, default_value = "10000")]
    idle: usize,
    /// Times restarts only.
    #[arg(long)]
    restarts: bool,
    /// Folder of another build to compare with, in turns: its fovea-operator, and its definitions as crds/*.yaml.
    #[arg(long)]
    base: Option<PathBuf>,
}

impl Arguments {
    /// The other build, on a control plane with its own definitions.
    fn base(&self) -> Option<Options> {
        self.base.as_ref().map(|folder| Options {
            program: Some(folder.join("fovea-operator")),
            definitions: Some(folder.join("crds")),
            ..self.options()
        })
    }

    fn options(&self) -> Options {
        Options {
            slots: SLOTS,
            program: Some(self.operator.clone()),
            // No log line per step while timing.
            env: vec![("RUST_LOG".to_owned(), "warn".to_owned())],
            // Nor does it delete what is weighed.
            ..Options::flags([
                "--max-finished-jobs=1000000",
                "--max-finished-jobs-per-namespace=1000000",
            ])
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.restarts {
        return restart::time(&arguments).await;
    }
    if let Some(base) = arguments.base() {
        return builds::compare(&arguments, base).await;
    }
    eprintln!(
        "starting etcd, kube-apiserver, kube-controller-manager, MinIO, the operator and its peer"
    );
    let operated = Operated::start(arguments.options()).await?;
    let mut peer = Peer::start(&arguments).await?;
    throughput::compare(&operated, &mut peer, &arguments).await?;
    round_trips::compare(&operated, &mut peer, &arguments).await?;
    drop(peer);
    drop(operated);
    idle::weigh(&arguments).await?;
    restart::time(&arguments).await
}
