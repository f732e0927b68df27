//! Times Fovea as the chart installs it, on a real node: from `helm install` to the first caption,
//! uploads through the ingress beside the embedded set-up's, and what operator and api weigh.
//!
//!     make bench-cluster (ROUNDS=5 UPLOADS=1000 FINISHED=10000)

mod cold;
mod uploads;
mod weight;

use clap::Parser;
use fovea_tests::Installed;

/// Flags of the benchmark, which `make bench-cluster` passes.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// How often each is timed.
    #[arg(long, default_value = "5")]
    rounds: usize,
    /// Number of uploads in a turn.
    #[arg(long, default_value = "1000")]
    uploads: usize,
    /// Uploads under way at a time.
    #[arg(long, default_value = "64")]
    connections: usize,
    /// Finished jobs, for the weights.
    #[arg(long, default_value = "10000")]
    finished: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    eprintln!("building the images, starting a node, the control plane, MinIO and the ingress");
    let it = Installed::prepare().await?;
    cold::time(&it, &arguments).await?;
    uploads::compare(&it, &arguments).await?;
    weight::weigh(&it, &arguments).await
}
