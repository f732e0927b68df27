//! `fovea-dev`: sets up what a contributor's machine needs, and guards what tests start.

use std::path::PathBuf;
use std::process::ExitCode;

mod cluster_command;
mod demo;

use anyhow::Result;
use clap::{Parser, Subcommand};
use fovea_dev::cache::Cache;
use fovea_dev::chart;
use fovea_dev::docs;
use fovea_dev::guard;
use fovea_dev::images::{Build, Image, Torch};
use fovea_dev::release::{self, Release};
use fovea_dev::setup::{self, Part, progress::Progress};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build and fetch what is pinned: the control plane's programs, MinIO, libtorch
    Setup {
        /// Only one part of it
        #[arg(long)]
        only: Option<Part>,
    },
    /// Run Fovea on this machine, and caption two pictures
    Demo(demo::DemoOptions),
    /// A cluster with nodes
    #[command(subcommand)]
    Cluster(cluster_command::ClusterCommand),
    /// Build container images from built binaries: <name>.tar, for docker load or ctr import
    Images {
        /// The folder of the binaries
        #[arg(long)]
        binaries: PathBuf,
        /// The folder that gets the archives
        #[arg(long)]
        out: PathBuf,
        /// The runner's libtorch
        #[arg(long, value_enum, default_value_t)]
        torch: Torch,
        /// The source's commit, for a label
        #[arg(long, default_value = "unknown")]
        revision: String,
        /// Which; all where none is named
        images: Vec<Image>,
    },
    /// What is generated from the chart: its schema, README and renders, the plain manifests
    #[command(subcommand)]
    Chart(ChartCommand),
    /// The docs' reference pages
    #[command(subcommand)]
    Docs(DocsCommand),
    /// Build images, chart, manifests, sums and bills of materials into one folder, and check it
    Release(Release),
    /// Print what a shell needs: eval "$(fovea-dev env)"
    Env,
    /// Start programs for the process that holds this one's stdin, and end them with it
    #[command(hide = true)]
    Guard,
    /// Hold what a cluster with nodes has in the kernel, and remove it on SIGTERM
    #[command(hide = true)]
    Hold {
        /// How many nodes it has
        #[arg(long)]
        nodes: u8,
        /// The guardian's folder, for the next holder to remove where the guardian could not
        #[arg(long)]
        scratch: PathBuf,
    },
    /// Become a command that ends with its guardian
    #[command(hide = true)]
    Exec {
        /// The guardian's process id
        guardian: u32,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Subcommand)]
enum ChartCommand {
    /// Write it
    Generate,
    /// Fail where a part of it is not current
    Check,
}

#[derive(Subcommand)]
enum DocsCommand {
    /// Write them
    Generate,
    /// Fail where one is not current
    Check,
}

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
        Command::Images {
            binaries,
            out,
            torch,
            revision,
            images,
        } => {
            let cache = Cache::from_env()?;
            let mut parts = vec![Part::Node, Part::Libtorch];
            parts.extend((torch == Torch::Cuda).then_some(Part::LibtorchCuda));
            setup::run(&cache, &parts, &Progress::stderr())?;
            let all = if images.is_empty() {
                Image::ALL.to_vec()
            } else {
                images
            };
            let build = Build {
                binaries,
                out,
                torch,
                revision,
            };
            for image in all {
                println!("{}", build.archive(&cache, image)?.display());
            }
        }
        Command::Chart(ChartCommand::Generate) => chart::generate(&Progress::stderr())?,
        Command::Chart(ChartCommand::Check) => chart::check(&Progress::stderr())?,
        Command::Docs(DocsCommand::Generate) => docs::generate()?,
        Command::Docs(DocsCommand::Check) => docs::check()?,
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
