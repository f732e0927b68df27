//! `fovea-dev`: sets up what a contributor's machine needs, and guards what tests start.

use std::process::ExitCode;

mod arguments;
mod cluster_command;
mod demo;
mod images_command;

use anyhow::Result;
use arguments::{Arguments, Command, Generated};
use clap::Parser as _;
use fovea_dev::cache::Cache;
use fovea_dev::setup::{self, Part, progress::Progress};
use fovea_dev::{chart, docs, guard, release};

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Setup { only } => {
            let parts = only.map_or(vec![Part::Tools, Part::Libtorch], |part| vec![part]);
            setup::run(&Cache::from_env()?, &parts, &Progress::stderr())?;
        }
        Command::Demo(options) => tokio::runtime::Runtime::new()?.block_on(demo::run(options))?,
        Command::Cluster(command) => {
            tokio::runtime::Runtime::new()?.block_on(cluster_command::run(command))?;
        }
        Command::Images(command) => command.run()?,
        Command::Chart(Generated::Generate) => chart::generate(&Progress::stderr())?,
        Command::Chart(Generated::Check) => chart::check(&Progress::stderr())?,
        Command::Docs(Generated::Generate) => docs::generate()?,
        Command::Docs(Generated::Check) => docs::check()?,
        Command::Release(options) => {
            let folder = release::run(&Cache::from_env()?, &options, &Progress::stderr())?;
            println!("{}", folder.display());
        }
        Command::Env => print!("{}", setup::environment(&Cache::from_env()?)),
        Command::Guard => guard::run()?,
        Command::Hold { nodes, scratch } => fovea_dev::node::holder::run(&scratch, nodes)?,
        Command::Exec { guardian, command } => {
            // One line, for the end of the program's log.
            eprintln!("{}", guard::exec(guardian, &command));
            return Ok(ExitCode::from(127));
        }
    }
    Ok(ExitCode::SUCCESS)
}
