//! Container images: Fovea's own, from `images/Dockerfile`, and the pause image of the nodes. docker builds
//! them if its engine answers, else buildah, which needs no engine.

mod base;
mod builder;
mod context;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs;
use builder::{Builder, Recipe};
use fovea_setup::cache::{Cache, CacheError};
use fovea_setup::{SetupError, go, run_command};

/// The Dockerfile of all images. It is part of this program because a build fills its own folder.
const DOCKERFILE: &str = include_str!("../../../images/Dockerfile");
const PAUSE_SOURCE: &str = include_str!("../../../images/pause.c");

/// The tag of locally built images.
pub const TAG: &str = "dev";

/// An image that Fovea builds and releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Image {
    /// `fovea-operator`
    Operator,
    /// `fovea-api`
    Api,
    /// `fovea-runner`, with libtorch
    Runner,
}

impl Image {
    /// All images, the largest last.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Api, Self::Runner];

    /// The name of the binary, of the Dockerfile's target and of the image.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "fovea-operator",
            Self::Api => "fovea-api",
            Self::Runner => "fovea-runner",
        }
    }

    /// The name in a pod, such as `localhost/fovea-runner:dev`.
    pub fn reference(self) -> String {
        format!("localhost/{}:{TAG}", self.name())
    }
}

/// Which libtorch the runner's image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Torch {
    /// For CPUs only: 0.5 GB.
    #[default]
    Cpu,
    /// With CUDA and NVIDIA's libraries: several GB.
    Cuda,
}

impl Torch {
    /// The value of the Dockerfile's argument, and the folder in its context.
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Build {
    /// The folder of the built binaries, such as `target/release`.
    pub binaries: PathBuf,
    /// Output folder of `<name>.tar`.
    pub out: PathBuf,
    pub torch: Torch,
    /// Commit of the source, for a label of the image.
    pub revision: String,
}

/// Reference and creation time of an image.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub reference: String,
    /// Seconds since 1970; `None` for now.
    pub made_at_seconds: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("{} is not built: run `make build`, or `make images` which builds releases", path.display())]
    NotBuilt { path: PathBuf },
    #[error("no docker engine answers, and without one only root builds images (with buildah)")]
    NotRoot,
    #[error("there are no certificates of authorities: run `fovea-setup --only node`")]
    NoAuthorities,
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl ImageError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

impl Build {
    /// Builds from the binaries of the running test into a folder beside them.
    pub fn of_tests() -> Result<Self, ImageError> {
        let not_built = |_| ImageError::NotBuilt {
            path: Image::Runner.name().into(),
        };
        let runner = programs::find(Image::Runner.name()).map_err(not_built)?;
        let binaries = runner.parent().unwrap_or(Path::new(".")).to_path_buf();
        Ok(Self {
            out: binaries.join("images"),
            binaries,
            torch: Torch::Cpu,
            revision: "unknown".to_owned(),
        })
    }

    /// Builds `image` unless its archive is newer than its inputs; returns the archive's path.
    pub fn archive(&self, cache: &Cache, image: Image) -> Result<PathBuf, ImageError> {
        let stamp = Stamp {
            reference: image.reference(),
            made_at_seconds: None,
        };
        self.archive_as(cache, image, &stamp)
    }

    /// As [`Build::archive`], with another name and creation time.
    pub fn archive_as(
        &self,
        cache: &Cache,
        image: Image,
        stamp: &Stamp,
    ) -> Result<PathBuf, ImageError> {
        fs::create_dir_all(&self.out).map_err(ImageError::io("the images' folder"))?;
        let _lock = lock(&self.out)?;
        let archive = self.out.join(format!("{}.tar", image.name()));
        let recorded = self.out.join(format!("{}.inputs", image.name()));
        let inputs = format!("{}{stamp:?}\n", context::inputs(cache, self, image)?);
        if archive.is_file() && fs::read_to_string(&recorded).is_ok_and(|text| text == inputs) {
            return Ok(archive);
        }
        let context = self.out.join("context");
        context::lay_out(cache, self, image, &context)?;
        // buildah does not overwrite an archive, and an incomplete one must not look current.
        for old in [&recorded, &archive] {
            if old.exists() {
                fs::remove_file(old).map_err(ImageError::io("removing an old image"))?;
            }
        }
        let made_at = stamp.made_at_seconds.map(|seconds| seconds.to_string());
        let mut arguments = vec![
            ("VERSION", env!("CARGO_PKG_VERSION")),
            ("REVISION", self.revision.as_str()),
            ("TORCH", self.torch.name()),
        ];
        arguments.extend(made_at.as_deref().map(|seconds| (builder::EPOCH, seconds)));
        let recipe = Recipe {
            context: &context,
            target: Some(image.name()),
            name: &stamp.reference,
            arguments: &arguments,
            archive: &archive,
            large: image == Image::Runner && self.torch == Torch::Cuda,
        };
        Builder::find().build(cache, recipe)?;
        fs::remove_dir_all(&context).map_err(ImageError::io("removing the context"))?;
        write(&recorded, &inputs)?;
        Ok(archive)
    }
}

/// The archive of the pause image, which holds a pod's namespaces; built if missing.
pub fn pause(cache: &Cache) -> Result<PathBuf, ImageError> {
    let name = "localhost/pause:1";
    of_one_program(cache, "image-pause-1", "pause", name, |program| {
        let source = program.with_extension("c");
        write(&source, PAUSE_SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler
            .args(["-Os", "-static", "-s", "-o"])
            .arg(program)
            .arg(&source);
        run_command("compiling pause.c", &mut compiler)?;
        Ok(())
    })
}

/// Name of [`minio`]'s image in a pod.
pub const MINIO: &str = "localhost/minio:dev";

/// The archive of an image of MinIO, for nodes without a registry; built if missing.
pub fn minio(cache: &Cache) -> Result<PathBuf, ImageError> {
    let entry = format!("image-{}-1", go::MINIO.entry());
    of_one_program(cache, &entry, "minio", MINIO, |program| {
        let built = go::MINIO.program(cache, "minio");
        fs::copy(&built, program)
            .map_err(ImageError::io(format!("copying {}", built.display())))?;
        Ok(())
    })
}

/// The archive of an image with one program: `put` writes the file `bin/<target>`, which the target copies.
fn of_one_program(
    cache: &Cache,
    entry: &str,
    target: &str,
    name: &str,
    put: impl FnOnce(&Path) -> Result<(), ImageError>,
) -> Result<PathBuf, ImageError> {
    let file = format!("{target}.tar");
    let folder = cache.get_or_build(entry, |dir| {
        let context = dir.join("context");
        fs::create_dir_all(context.join("bin")).map_err(ImageError::io("laying out an image"))?;
        put(&context.join("bin").join(target))?;
        let recipe = Recipe {
            context: &context,
            target: Some(target),
            name,
            arguments: &[],
            archive: &dir.join(&file),
            large: false,
        };
        Builder::find().build(cache, recipe)?;
        fs::remove_dir_all(&context).map_err(ImageError::io("removing the context"))
    })?;
    Ok(folder.join(file))
}

/// The archive of the base image alone, for a pod that runs Debian's programs.
pub fn debian(cache: &Cache) -> Result<PathBuf, ImageError> {
    let entry = cache.get_or_build("image-debian-12-1", |dir| {
        let context = dir.join("context");
        fs::create_dir_all(&context).map_err(ImageError::io("the base image's folder"))?;
        let recipe = Recipe {
            context: &context,
            target: None,
            name: DEBIAN,
            arguments: &[],
            archive: &dir.join("debian.tar"),
            large: false,
        };
        Builder::find().build(cache, recipe)
    })?;
    Ok(entry.join("debian.tar"))
}

/// Name of [`debian`]'s image in a pod.
pub const DEBIAN: &str = base::NAME;

fn write(path: &Path, text: &str) -> Result<(), ImageError> {
    fs::write(path, text).map_err(ImageError::io(format!("writing {}", path.display())))
}

/// Locks a folder, so that one build at a time uses it. The kernel releases the lock with the process.
fn lock(folder: &Path) -> Result<fs::File, ImageError> {
    let file = fs::File::create(folder.join(".lock")).map_err(ImageError::io("the lock"))?;
    file.lock().map_err(ImageError::io("the lock"))?;
    Ok(file)
}
