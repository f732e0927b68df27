//! Times the api's uploads against a `FastAPI` service and against what MinIO and the API server reach
//! by themselves, all in turns on one cluster and one MinIO, each upload another picture; then what waiting clients and finished jobs cost the api in
//! memory, and whether a mixed load leaves errors or growing memory behind.
//!
//!     make bench-api (ROUNDS=5 MINUTES=10 BASE=<fovea-api>)

mod finished;
mod k6;
mod mixed;
mod setting;
mod uploads;
mod waiters;

use clap::Parser;
use setting::Setting;
use std::path::PathBuf;

/// Flags of the benchmark, which `make bench-api` passes.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// The program, built for release.
    #[arg(long)]
    api: PathBuf,
    /// A Python that has requirements.txt.
    #[arg(long)]
    python: PathBuf,
    /// Number of turns of each side.
    #[arg(long, default_value = "5")]
    rounds: usize,
    /// Length of a turn in seconds.
    #[arg(long, default_value = "8")]
    seconds: u32,
    /// Number of concurrent connections in a turn.
    #[arg(long, default_value = "64")]
    connections: u32,
    /// Clients that wait for one job's events at once.
    #[arg(long, default_value = "5000")]
    waiters: usize,
    /// Number of finished jobs in the cluster.
    #[arg(long, default_value = "10000")]
    finished: usize,
    /// Length of the mixed load.
    #[arg(long, default_value = "10")]
    minutes: u32,
    /// Another build of the program: only uploads are timed, in turns with its own.
    #[arg(long)]
    base: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let setting = Setting::start(&arguments).await?;
    if let Some(base) = &arguments.base {
        let base = setting.another_build(base).await?;
        return uploads::compare_builds(&setting, &base, &arguments).await;
    }
    uploads::compare(&setting, &arguments).await?;
    waiters::weigh(&setting, arguments.waiters).await?;
    mixed::run(&setting, &arguments).await?;
    finished::weigh(&setting, arguments.finished).await?;
    Ok(())
}
