//! docker or buildah: the same Dockerfile, the same archive.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{DOCKERFILE, ImageError, base, write};
use crate::cache::Cache;
use crate::setup::{debian, run_command};

/// What builds images here.
#[derive(Clone, Debug)]
pub(super) enum Builder {
    Docker,
    Buildah(Cache),
}

impl Builder {
    /// docker where its engine answers, else buildah.
    pub(super) fn find(cache: &Cache) -> Self {
        let answers = Command::new("docker")
            .args(["info", "--format", "{{.ServerVersion}}"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match answers {
            Ok(status) if status.success() => Self::Docker,
            _ => Self::Buildah(cache.clone()),
        }
    }

    /// Builds one target with the files of `context` and saves it, under `name`, as a docker archive.
    pub(super) fn build(
        &self,
        context: &Path,
        target: &str,
        name: &str,
        arguments: &[(&str, &str)],
        archive: &Path,
    ) -> Result<(), ImageError> {
        write(&context.join("Dockerfile"), DOCKERFILE)?;
        let arguments = arguments
            .iter()
            .map(|(name, value)| format!("--build-arg={name}={value}"));
        let step = format!("building the image {name}");
        match self {
            Self::Docker => {
                let mut build = Command::new("docker");
                build
                    .args(["build", "--quiet", "--target", target, "--tag", name])
                    .args(arguments)
                    .arg(context);
                run_command(&step, &mut build)?;
                let mut save = Command::new("docker");
                run_command(&step, save.args(["save", name, "--output"]).arg(archive))?;
            }
            Self::Buildah(cache) => {
                if target != "pause" {
                    base::ensure(cache)?;
                }
                let mut build = buildah(cache, "build");
                build
                    .args(["--quiet", "--isolation=chroot", "--layers=false"])
                    .args(["--pull=never", "--target", target, "--tag", name])
                    .args(arguments)
                    .arg(context);
                run_command(&step, &mut build)?;
                let destination = format!("docker-archive:{}:{name}", archive.display());
                run_command(
                    &step,
                    buildah(cache, "push").args(["--quiet", name, &destination]),
                )?;
                // The archive is what is kept.
                run_command(&step, buildah(cache, "rmi").arg(name))?;
            }
        }
        Ok(())
    }
}

/// A subcommand of buildah, with a store of its own. `vfs` leaves no mount behind.
pub(super) fn buildah(cache: &Cache, subcommand: &str) -> Command {
    let store = cache.path("image-store");
    let mut buildah = Command::new("buildah");
    buildah
        .envs(debian::environment(cache))
        .arg("--storage-driver=vfs")
        .arg("--root")
        .arg(store.join("root"))
        .arg("--runroot")
        .arg(store.join("run"))
        .arg(subcommand);
    // The package's own, where it is not installed.
    let policy = cache
        .path(&debian::entry())
        .join("etc/containers/policy.json");
    if policy.is_file() && !["rmi", "inspect"].contains(&subcommand) {
        buildah.arg("--signature-policy").arg(policy);
    }
    buildah
}
