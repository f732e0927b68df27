//! `fovea-operator`: reconciles InferenceJobs into attempts on runners; `fovea-operator apply-pools`
//! applies the RunnerPools of a Helm release.

mod start;

use fovea_process::{Arguments, exit_code};
use std::process::ExitCode;

const APPLY_POOLS: &str = "apply-pools";

#[tokio::main]
async fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _held = fail::FailScenario::setup();
    exit_code(match Arguments::parse(APPLY_POOLS) {
        Arguments::Program(config) => Box::pin(start::operate(config)).await,
        Arguments::Subcommand(config) => start::apply_pools(config).await,
    })
}
