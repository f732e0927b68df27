//! What `fovea-dev` can be told.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use fovea_dev::release::Release;
use fovea_dev::setup::Part;

use crate::cluster_command::ClusterCommand;
use crate::demo::DemoOptions;
use crate::images_command::ImagesCommand;

#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build and fetch what is pinned: the control plane's programs, MinIO, libtorch
    Setup {
        /// Only one part of it
        #[arg(long)]
        only: Option<Part>,
    },
    /// Run Fovea on this machine, and caption two pictures
    Demo(DemoOptions),
    /// A cluster with nodes
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Build container images from built binaries: <name>.tar, for docker load or ctr import
    Images(ImagesCommand),
    /// What is generated from the chart: its schema, README and renders, the plain manifests
    #[command(subcommand)]
    Chart(Generated),
    /// The docs' reference pages
    #[command(subcommand)]
    Docs(Generated),
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

/// What to do with files that are generated and committed.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Generated {
    /// Write them
    Generate,
    /// Fail where one is not current
    Check,
}
