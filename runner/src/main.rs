//! `fovea-runner`: keeps models resident and answers inference requests; `fovea-runner fetch`
//! downloads a model from the Hugging Face hub.

mod run;

use fovea_process::{Arguments, Runtime, exit_code};
use fovea_runner::import::{self, HubSettings, ImportConfig};
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Allocates for libtorch too; `.cargo/config.toml` sets when it returns pages.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// The program's name in logs and traces.
const PROGRAM: &str = "fovea-runner";
const FETCH: &str = "fetch";

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(match Arguments::parse(FETCH) {
        Arguments::Program(config) => run::run(config).await,
        Arguments::Subcommand(config) => import_model(config).await,
    })
}

/// Runs the subcommand: downloads a model and prints its folder, which `--model` takes.
async fn import_model(config: ImportConfig) -> anyhow::Result<()> {
    let runtime = Runtime::start(PROGRAM, config.log_format)?;
    let settings = HubSettings::from_environment(|name| std::env::var_os(name))?;
    let imported = import::run(&config, &settings).await;
    runtime.finish().await;
    println!("{}", imported?.dir.display());
    Ok(())
}
