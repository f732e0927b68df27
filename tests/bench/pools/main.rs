//! Times pools of pods on a real node: the first job of an empty pool, the wait during a change of models,
//! and the load of pools on the operator.
//!
//!     make bench-pools (ROUNDS=5)

mod cold;
mod rollout;
mod weight;

use clap::Parser;
use fovea_harness::images::{Build, Torch};
use fovea_tests::Pods;
use std::path::PathBuf;

/// Flags of the benchmark, which `make bench-pools` passes.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// The folder of the programs, built for release.
    #[arg(long)]
    binaries: PathBuf,
    /// How often each is timed.
    #[arg(long, default_value = "5")]
    rounds: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { binaries, rounds } = Arguments::parse();
    eprintln!(
        "building the runner's image, starting a node, the control plane, MinIO and the operator"
    );
    let images = Build {
        out: binaries.join("images"),
        binaries: binaries.clone(),
        torch: Torch::Cpu,
        revision: "unknown".to_owned(),
    };
    let program = binaries.join("fovea-operator");
    let pods = Box::pin(Pods::start_with(1, &[], Some(program), images)).await?;
    cold::time(&pods, rounds).await?;
    Box::pin(rollout::time(&pods, rounds)).await?;
    weight::weigh(&pods).await
}
