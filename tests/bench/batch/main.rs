//! Times batches against Celery, single jobs and bare GETs, in turns on one machine, and weighs a batch of a
//! million pictures.
//!
//!     make bench-batch (ROUNDS=3 PICTURES=20000 MILLION=1000000)

mod forward;
mod gets;
mod million;
mod peer;
mod setting;
mod throughput;
#[path = "../operator/watched.rs"]
mod watched;

use clap::Parser;
use peer::Peer;
use setting::Setting;
use std::path::PathBuf;

/// Flags of the benchmark, which `make bench-batch` passes.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// A Python that has requirements.txt.
    #[arg(long)]
    python: PathBuf,
    /// The runner's own benchmark, built for release.
    #[arg(long)]
    forward: PathBuf,
    /// Program of the broker that the peer uses.
    #[arg(long, default_value = "redis-server")]
    redis: PathBuf,
    /// Number of turns of each side; 0 leaves the comparison out.
    #[arg(long, default_value = "3")]
    rounds: usize,
    /// Number of pictures in a turn.
    #[arg(long, default_value = "20000")]
    pictures: usize,
    /// Number of single jobs in a turn.
    #[arg(long, default_value = "1000")]
    singles: usize,
    /// Connections of the bare GETs.
    #[arg(long, default_value = "32")]
    connections: usize,
    /// Pictures in a pass of the runner.
    #[arg(long, default_value = "32")]
    max_batch_size: usize,
    /// Number of pictures in the large batch; 0 leaves it out.
    #[arg(long, default_value = "1000000")]
    million: usize,
    /// Progress of the large batch, in thousandths, at which the leader is restarted.
    #[arg(long, default_value = "100")]
    half: u32,
    /// Whether the large batch runs to its end.
    #[arg(long)]
    to_the_end: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut setting = Setting::start(&arguments).await?;
    let mut peer = Peer::start(&arguments, &setting.stack.store).await?;
    setting.draw(&mut peer, arguments.pictures).await?;
    if arguments.rounds > 0 {
        throughput::compare(&mut setting, &mut peer, &arguments).await?;
    }
    drop(peer);
    if arguments.million > 0 {
        million::measure(&mut setting, &arguments).await?;
    }
    Ok(())
}
