//! `fovea-runner`: keeps models resident and answers inference requests.

mod run;

use clap::Parser as _;
use fovea_runner::config::Config;
use fovea_runner::telemetry;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    telemetry::start(config.log_format);
    match run::run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
