//! moto, a mock of AWS that runs as a server: pure Python and some wheels, with the interpreter of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{SetupError, run_command};
use crate::cache::Cache;
use crate::versions::MOTO;

const REQUIREMENTS: &str = include_str!("../python/moto.txt");

fn entry() -> String {
    format!("moto-{MOTO}")
}

/// The folder of its packages, for `PYTHONPATH`.
pub fn packages(cache: &Cache) -> PathBuf {
    cache.path(&entry())
}

pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf, SetupError> {
    let label = format!("moto {MOTO}");
    let step = format!("fetching {label} from PyPI (50 MB)");
    cache.get_or_build_with_progress(&entry(), [&label, &step], fetch)
}

fn fetch(out: &Path) -> Result<(), SetupError> {
    let io = |source| SetupError::io("fetching moto")(source);
    let list = out.join("requirements.txt");
    fs::write(&list, REQUIREMENTS).map_err(io)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-cache-dir"])
        .args(["--no-deps", "--disable-pip-version-check", "--requirement"])
        .arg(&list)
        .arg("--target")
        .arg(out);
    run_command("fetching moto's wheels with pip", &mut pip)?;
    fs::remove_file(list).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_the_version_that_is_named() {
        let line = format!("moto=={MOTO}");
        assert!(REQUIREMENTS.lines().any(|each| each == line));
    }
}
