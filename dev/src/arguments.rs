//! The command line of `fovea-dev`.

use clap::{Parser, Subcommand};
use fovea_dev::release::Release;

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
    /// Run Fovea on this machine, and caption two pictures
    Demo(DemoOptions),
    /// Start, show or end a cluster with nodes
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Build container images from built binaries: <name>.tar, for docker load or ctr import
    Images(ImagesCommand),
    /// Write or check the files generated from the chart: schema, README, renders, plain manifests
    #[command(subcommand)]
    Chart(Generated),
    /// Write or check the docs' reference pages
    #[command(subcommand)]
    Docs(Generated),
    /// Build images, chart, manifests, checksums and bills of materials into one folder, and check it
    Release(Release),
}

/// Whether generated files that are committed are written or checked.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Generated {
    /// Rewrite the files from their sources
    Generate,
    /// Fail if a file is not current
    Check,
}
