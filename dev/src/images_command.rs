//! `make images`.

use std::path::PathBuf;

use anyhow::Result;
use fovea_harness::images::{Build, Image, Torch};
use fovea_setup::cache::Cache;
use fovea_setup::{self as setup, Part, progress::Progress};

/// Which images, from what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ImagesCommand {
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
}

impl ImagesCommand {
    /// Builds them, and tells where each lies.
    pub(crate) fn run(self) -> Result<()> {
        let Self {
            binaries,
            out,
            torch,
            revision,
            images,
        } = self;
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
        Ok(())
    }
}
