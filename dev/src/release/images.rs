//! The images under the release's names, and the list by which they are loaded or pushed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{ReleaseError, VERSION, Work, registry, write};
use fovea_harness::images::{Build, Image, Stamp, Torch};
use fovea_setup::run_command;

/// Names each archive and what it holds, separated by a space.
pub(super) const LIST: &str = "IMAGES";

pub(super) struct Built {
    pub(super) image: Image,
    pub(super) torch: Torch,
    /// The tag: the version, and `-cuda` after it for what the operator gives to a GPU.
    pub(super) tag: String,
    pub(super) reference: String,
}

impl Built {
    fn new(registry: &str, image: Image, torch: Torch) -> Self {
        let tag = match torch {
            Torch::Cpu => VERSION.to_owned(),
            Torch::Cuda => format!("{VERSION}-cuda"),
        };
        let reference = registry::reference(registry, image, &tag);
        Self {
            image,
            torch,
            tag,
            reference,
        }
    }

    pub(super) fn file(&self) -> String {
        format!("{}-{}.tar", self.image.name(), self.tag)
    }
}

pub(super) fn build(work: &Work<'_>) -> Result<Vec<Built>, ReleaseError> {
    let mut all = Vec::new();
    let mut list = String::new();
    for (image, torch) in wanted(&work.release.variants()) {
        let one = Built::new(work.registry, image, torch);
        let build = Build {
            binaries: work.release.binaries.clone(),
            // Kept from one release to the next: what has not changed is not built again.
            out: work.release.out.join("release-images").join(&one.tag),
            torch,
            revision: work.source.revision.clone(),
        };
        let stamp = Stamp {
            reference: one.reference.clone(),
            made_at_seconds: Some(work.source.epoch_seconds),
        };
        let archive = build.archive_as(work.cache, image, &stamp)?;
        let target = work.folder.join(one.file());
        // A link where that is possible: a runner's image is large.
        fs::hard_link(&archive, &target)
            .or_else(|_| fs::copy(&archive, &target).map(drop))
            .map_err(ReleaseError::io(format!("copying {}", archive.display())))?;
        list.extend([one.file().as_str(), " ", &one.reference, "\n"]);
        all.push(one);
    }
    write(&work.folder.join(LIST), &list)?;
    Ok(all)
}

/// Each image once, and the runner's in each of its variants.
fn wanted(variants: &[Torch]) -> Vec<(Image, Torch)> {
    let small = [Image::Operator, Image::Api].map(|image| (image, Torch::Cpu));
    let runners = variants.iter().map(|torch| (Image::Runner, *torch));
    small.into_iter().chain(runners).collect()
}

pub(super) struct Archive {
    path: PathBuf,
    manifest: Value,
    config: Value,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, ReleaseError> {
        let manifest = json(path, &member(path, "manifest.json")?)?[0].take();
        let config = manifest["Config"].as_str().unwrap_or_default();
        Ok(Self {
            config: json(path, &member(path, config)?)?,
            path: path.to_path_buf(),
            manifest,
        })
    }

    pub(super) fn name(&self) -> &str {
        let name = self.manifest["RepoTags"][0].as_str().unwrap_or_default();
        // docker's own names are written in full or not.
        name.strip_prefix("docker.io/library/").unwrap_or(name)
    }

    /// The `config` of the image's configuration: user, labels and command.
    pub(super) fn config(&self) -> &Value {
        &self.config["config"]
    }

    /// A text file of the base image, which is the first layer.
    pub(super) fn base_file(&self, name: &str, scratch: &Path) -> Result<String, ReleaseError> {
        let layer = self.manifest["Layers"][0].as_str().unwrap_or_default();
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(&self.path);
        run_command(
            "unpacking a layer",
            unpack.arg("-C").arg(scratch).arg(layer),
        )?;
        let mut read = Command::new("tar");
        read.arg("-xOf").arg(scratch.join(layer));
        // Layers write their names with `./` before them, or without.
        let text = run_command(
            &format!("reading {name} of {}", self.path.display()),
            read.args(["--wildcards", &format!("*{name}")]),
        )?;
        fs::remove_file(scratch.join(layer)).map_err(ReleaseError::io("tidying up"))?;
        Ok(text)
    }
}

fn member(archive: &Path, name: &str) -> Result<String, ReleaseError> {
    let mut read = Command::new("tar");
    let what = format!("reading {name} of {}", archive.display());
    Ok(run_command(&what, read.arg("-xOf").arg(archive).arg(name))?)
}

fn json(archive: &Path, text: &str) -> Result<Value, ReleaseError> {
    serde_json::from_str(text)
        .map_err(|error| ReleaseError::unexpected(archive.display().to_string(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_is_built_once_and_the_runners_for_each_libtorch() {
        let names: Vec<_> = wanted(&[Torch::Cpu, Torch::Cuda])
            .into_iter()
            .map(|(image, torch)| Built::new("ghcr.io/you", image, torch).reference)
            .collect();
        let expected = ["operator", "api", "runner"]
            .map(|name| format!("ghcr.io/you/fovea-{name}:{VERSION}"))
            .into_iter()
            .chain([format!("ghcr.io/you/fovea-runner:{VERSION}-cuda")]);
        assert_eq!(names, expected.collect::<Vec<_>>());
    }
}
