//! `fovea-runner`: keeps models resident and answers inference requests; `fovea-runner fetch` brings
//! a model from the Hugging Face hub.

mod run;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use fovea_runner::config::Config;
use fovea_runner::fetch::{self, FetchConfig, HubSettings};
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// libtorch's too: it keeps pages as `.cargo/config.toml` says.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// As logs and traces name it.
const PROGRAM: &str = "fovea-runner";
/// The subcommand's name.
const FETCH: &str = "fetch";

#[tokio::main]
async fn main() -> ExitCode {
    // Who installed one before is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let command = Config::command()
        .subcommand(FetchConfig::command().name(FETCH))
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true);
    let matches = command.get_matches();
    let ended = match matches.subcommand() {
        Some((FETCH, matches)) => fetch(matches).await,
        _ => serve(&matches).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(matches: &ArgMatches) -> anyhow::Result<()> {
    let config = Config::from_arg_matches(matches)?;
    let telemetry = fovea_telemetry::start(PROGRAM, config.log_format)?;
    let ended = run::run(config).await;
    tokio::task::spawn_blocking(|| telemetry.stop()).await?;
    ended
}

/// Prints the folder to give to `--model`.
async fn fetch(matches: &ArgMatches) -> anyhow::Result<()> {
    let config = FetchConfig::from_arg_matches(matches)?;
    let telemetry = fovea_telemetry::start(PROGRAM, config.log_format)?;
    let settings = HubSettings::from_environment(|name| std::env::var_os(name))?;
    let fetched = fetch::run(&config, &settings).await;
    tokio::task::spawn_blocking(|| telemetry.stop()).await?;
    let fetched = fetched?;
    println!("{}", fetched.dir.display());
    Ok(())
}
