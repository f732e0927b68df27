//! `fovea-operator`: reconciles InferenceJobs into attempts on runners; `fovea-operator apply-pools`
//! has a release's RunnerPools in the cluster.

mod start;

use clap::CommandFactory as _;
use fovea_operator::apply_pools::ApplyPoolsConfig;
use fovea_operator::config::Config;
use std::process::ExitCode;

/// The subcommand's name.
const APPLY_POOLS: &str = "apply-pools";

#[tokio::main]
async fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _held = fail::FailScenario::setup();
    // Who installed one before is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let command = Config::command()
        .subcommand(ApplyPoolsConfig::command().name(APPLY_POOLS))
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true);
    let matches = command.get_matches();
    let ended = match matches.subcommand() {
        Some((APPLY_POOLS, matches)) => start::apply_pools(matches).await,
        _ => Box::pin(start::operate(&matches)).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
