//! `make release`: one folder with the images, the chart, the manifests, bills of materials and checksums. It
//! gets its final name once it is complete and checked.
//!
//! Everything but the binaries comes from a commit, not from the working tree.

mod changelog;
mod chart;
mod error;
mod images;
mod manifests;
mod registry;
mod sbom;
mod source;
mod sums;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::ReleaseError;
use fovea_harness::images::Torch;
use fovea_setup::cache::Cache;
use fovea_setup::progress;
use fovea_setup::{self as setup, Part};
use source::Source;

/// The version that everything in the folder has: the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Inputs and output folder of a release.
#[derive(Clone, Debug, clap::Args)]
pub struct Release {
    /// Folder of the built binaries
    #[arg(long)]
    binaries: PathBuf,
    /// Folder in which to write `release-<version>`
    #[arg(long)]
    out: PathBuf,
    /// Variant of libtorch in the runner's image; default: both, because the chart names both images
    #[arg(long, value_enum)]
    torch: Vec<Torch>,
    /// Registry that the chart and manifests pull images from, such as ghcr.io/you; default: none
    #[arg(long)]
    registry: Option<String>,
    /// Allow uncommitted changes and a changelog without a release date
    #[arg(long)]
    trial: bool,
    /// Check whether the commit can be released, and build nothing
    #[arg(long)]
    check: bool,
}

struct Work<'a> {
    cache: &'a Cache,
    release: &'a Release,
    source: &'a Source,
    /// The registry that pods pull from.
    registry: &'a str,
    /// The folder of the release, until it is whole.
    folder: &'a Path,
    /// Folder for temporary files, deleted at the end.
    scratch: &'a Path,
}

pub fn run(cache: &Cache, release: &Release) -> Result<PathBuf, ReleaseError> {
    let folder = release.out.join(format!("release-{VERSION}"));
    let unfinished = release.out.join(format!("release-{VERSION}.unfinished"));
    let scratch = release.out.join(format!("release-{VERSION}.scratch"));
    for old in [&unfinished, &scratch] {
        empty(old)?;
    }
    let source = Source::of_head(&scratch.join("source"), release.trial)?;
    let notes = changelog::notes(&source, release.trial)?;
    chart::check(&source)?;
    if release.check {
        fs::remove_dir_all(&unfinished).map_err(ReleaseError::io("tidying up"))?;
        fs::remove_dir_all(&scratch).map_err(ReleaseError::io("tidying up"))?;
        return Ok(folder);
    }
    setup::run(cache, &release.parts())?;
    let registry = registry::name(&source, release.registry.as_deref())?;
    let work = Work {
        cache,
        release,
        source: &source,
        registry: &registry,
        folder: &unfinished,
        scratch: &scratch,
    };
    write(&unfinished.join("CHANGES.md"), &notes)?;
    chart::package(&work)?;
    manifests::write_all(&work)?;
    let images = progress::step("building the release's images", || images::build(&work))?;
    progress::step("writing down what is in them", || {
        sbom::write_all(&work, &images)
    })?;
    sums::write(&unfinished)?;
    progress::step("checking the release", || verify::all(&work, &images))?;
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(ReleaseError::io("removing an old release"))?;
    }
    fs::rename(&unfinished, &folder).map_err(ReleaseError::io("naming the release"))?;
    for reference in verify::left_out(&work) {
        progress::note(&format!(
            "{reference} was left out: whose pods name it will not find it"
        ));
    }
    progress::note(&format!(
        "once it is published, {} takes the place of the chart in tests/chart/previous",
        chart::file()
    ));
    fs::remove_dir_all(&scratch).map_err(ReleaseError::io("tidying up"))?;
    Ok(folder)
}

impl Release {
    fn variants(&self) -> Vec<Torch> {
        let all = [Torch::Cpu, Torch::Cuda];
        let asked = |torch: &Torch| self.torch.is_empty() || self.torch.contains(torch);
        all.into_iter().filter(asked).collect()
    }

    fn parts(&self) -> Vec<Part> {
        let mut parts = vec![
            Part::Tools,
            Part::Node,
            Part::Libtorch,
            Part::Chart,
            Part::Release,
        ];
        if self.variants().contains(&Torch::Cuda) {
            parts.push(Part::LibtorchCuda);
        }
        parts
    }
}

fn empty(folder: &Path) -> Result<(), ReleaseError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(ReleaseError::io("removing an old try"))?;
    }
    fs::create_dir_all(folder).map_err(ReleaseError::io("creating the release's folder"))
}

fn write(path: &Path, text: &str) -> Result<(), ReleaseError> {
    fs::write(path, text).map_err(ReleaseError::io(format!("writing {}", path.display())))
}

fn read(path: &Path) -> Result<String, ReleaseError> {
    fs::read_to_string(path).map_err(ReleaseError::io(format!("reading {}", path.display())))
}

/// All files below a folder, sorted.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, ReleaseError> {
    let io = |error| ReleaseError::io(format!("listing {}", folder.display()))(error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
