//! The Dockerfile's base image, built without a registry: debootstrap installs the same distribution, without
//! the paths that the slim image omits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ImageError, write};
use fovea_setup::cache::Cache;
use fovea_setup::{debian, run_command};

/// Full name of the Dockerfile's base image.
pub(super) const NAME: &str = "docker.io/library/debian:12-slim";
const RELEASE: &str = "bookworm";

/// Paths that the slim image omits.
const LEFT_OUT: [&str; 6] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
];

/// The folder with the root file system, built if missing.
pub(super) fn folder(cache: &Cache) -> Result<PathBuf, ImageError> {
    cache.get_or_build("image-base-debian-12-1", |dir| bootstrap(cache, dir))
}

fn bootstrap(cache: &Cache, dir: &Path) -> Result<(), ImageError> {
    let root = dir.join("root");
    // debootstrap may leave mounts behind, which end with this mount namespace.
    let mut bootstrap = Command::new("unshare");
    bootstrap
        .envs(debian::environment(cache))
        // Programs in the new root have their own libraries.
        .env_remove("LD_LIBRARY_PATH")
        .args(["--mount", "--", "debootstrap", "--variant=minbase", RELEASE])
        .arg(&root);
    run_command("making the base image with debootstrap", &mut bootstrap)?;
    for name in LEFT_OUT {
        let folder = root.join(name);
        if folder.is_dir() {
            fs::remove_dir_all(&folder)
                .and_then(|()| fs::create_dir(&folder))
                .map_err(ImageError::io("making the base image slim"))?;
        }
    }
    let mut pack = Command::new("tar");
    pack.args([
        "--create",
        "--numeric-owner",
        "--exclude=./dev/*",
        "--exclude=./proc/*",
    ])
    .args(["--exclude=./sys/*", "--directory"])
    .arg(&root)
    .arg("--file")
    .arg(dir.join("root.tar"))
    .arg(".");
    run_command("packing the base image", &mut pack)?;
    fs::remove_dir_all(&root).map_err(ImageError::io("removing the base image's folder"))?;
    write(
        &dir.join("Dockerfile"),
        "FROM scratch\nADD root.tar /\nCMD [\"bash\"]\n",
    )
}
