//! Container images: Fovea's own by `images/Dockerfile`, and the pause image of the nodes. Built
//! with docker where an engine answers, else with buildah, which needs none.

mod base;
mod builder;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{Cache, CacheError};
use crate::setup::SetupError;
use builder::Builder;

/// The one recipe; part of this program, as a build lays out its own folder.
const DOCKERFILE: &str = include_str!("../../../images/Dockerfile");
const PAUSE_SOURCE: &str = include_str!("../../../images/pause.c");

/// An image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A program of the build.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl ImageError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

/// The archive of the image of the process that holds a pod's namespaces; built where it is not
/// there.
pub fn pause(cache: &Cache) -> Result<PathBuf, ImageError> {
    let entry = cache.get_or_build("image-pause-1", |dir| {
        let context = dir.join("context");
        let folder = context.join("bin");
        std::fs::create_dir_all(&folder).map_err(ImageError::io("the pause image's folder"))?;
        let source = dir.join("pause.c");
        std::fs::write(&source, PAUSE_SOURCE).map_err(ImageError::io("writing pause.c"))?;
        let mut compiler = Command::new("cc");
        compiler
            .args(["-Os", "-static", "-s", "-o"])
            .arg(folder.join("pause"))
            .arg(&source);
        crate::setup::run_command("compiling pause.c", &mut compiler)?;
        let archive = dir.join("pause.tar");
        Builder::find(cache).build(&context, "pause", "localhost/pause:1", &[], &archive)
    })?;
    Ok(entry.join("pause.tar"))
}

fn write(path: &Path, text: &str) -> Result<(), ImageError> {
    std::fs::write(path, text).map_err(ImageError::io(format!("writing {}", path.display())))
}
