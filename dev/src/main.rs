//! `fovea-dev`: the commands of a contributor, behind the targets of the Makefile.

mod arguments;
mod cluster_command;
mod demo;
mod images_command;

use anyhow::Result;
use arguments::{Arguments, Command, Generated};
use clap::Parser as _;
use fovea_dev::{chart, docs, release};
use fovea_setup::cache::Cache;

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Demo(options) => tokio::runtime::Runtime::new()?.block_on(demo::run(options))?,
        Command::Cluster(command) => {
            tokio::runtime::Runtime::new()?.block_on(cluster_command::run(command))?;
        }
        Command::Images(command) => command.run()?,
        Command::Chart(Generated::Generate) => chart::generate()?,
        Command::Chart(Generated::Check) => chart::check()?,
        Command::Docs(Generated::Generate) => docs::generate()?,
        Command::Docs(Generated::Check) => docs::check()?,
        Command::Release(options) => {
            let folder = release::run(&Cache::from_env()?, &options)?;
            println!("{}", folder.display());
        }
    }
    Ok(())
}
