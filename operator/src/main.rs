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
    match Arguments::parse(APPLY_POOLS) {
        Arguments::Program(config) => exit_code(Box::pin(start::operate(config)).await),
        Arguments::Subcommand(config) => {
            let applied = start::apply_pools(config).await;
            applied.unwrap_or_else(|error| exit_code(Err(error)))
        }
    }
}
