//! `make images`.

use std::path::PathBuf;

use anyhow::Result;
use fovea_harness::images::{Build, Image, Torch};
use fovea_setup::cache::Cache;
use fovea_setup::{self as setup, Part};

/// Images to build, and the binaries they are built from.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ImagesCommand {
    /// Folder of the built binaries
    #[arg(long)]
    binaries: PathBuf,
    /// Folder in which to write the archives
    #[arg(long)]
    out: PathBuf,
    /// Variant of libtorch in the runner's image
    #[arg(long, value_enum, default_value_t)]
    torch: Torch,
    /// Commit of the source, for the image's label
    #[arg(long, default_value = "unknown")]
    revision: String,
    /// Images to build; default: all
    images: Vec<Image>,
}

impl ImagesCommand {
    /// Builds the images, and prints the path of each archive.
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
        setup::run(&cache, &parts)?;
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
