//! Tools built from crates of the registry, with the toolchain that builds Fovea.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Part, SetupError, run_command};
use crate::cache::Cache;
use crate::versions;

/// A crate with one program of its own name.
#[derive(Debug)]
pub struct CrateTool {
    pub name: &'static str,
    /// Version of the crate, whose own lock file pins its dependencies.
    pub version: &'static str,
    /// How long a build takes on two cores with nothing cached, for the progress line.
    pub about: &'static str,
}

/// Writes the bills of materials of a release.
pub const CYCLONEDX: CrateTool = CrateTool {
    name: "cargo-cyclonedx",
    version: versions::CARGO_CYCLONEDX,
    about: "about a minute on 2 cores",
};

/// Checks licences, sources and advisories of all crates that we link.
pub const DENY: CrateTool = CrateTool {
    name: "cargo-deny",
    version: versions::CARGO_DENY,
    about: "about 4 minutes on 2 cores",
};

pub fn of(part: Part) -> &'static [CrateTool] {
    match part {
        Part::Release => &[CYCLONEDX],
        Part::Deny => &[DENY],
        _ => &[],
    }
}

impl CrateTool {
    pub fn entry(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    pub fn program(&self, cache: &Cache) -> PathBuf {
        cache.path(&self.entry()).join("bin").join(self.name)
    }

    pub fn ensure(&self, cache: &Cache) -> Result<(), SetupError> {
        let label = format!("{} {}", self.name, self.version);
        let step = format!("building {label} from its crate ({})", self.about);
        cache.get_or_build_with_progress(&self.entry(), [&label, &step], |dir| {
            // Keeps the build out of the workspace's target folder, whatever CARGO_TARGET_DIR is.
            let target = dir.join("target");
            let mut cargo = Command::new("cargo");
            cargo
                .args(["install", "--quiet", "--locked", "--version", self.version])
                .arg("--root")
                .arg(dir)
                .arg("--target-dir")
                .arg(&target)
                .arg(self.name);
            run_command(&format!("building {}", self.name), &mut cargo)?;
            let what = format!("tidying {}", target.display());
            fs::remove_dir_all(&target).map_err(SetupError::io(what))
        })?;
        Ok(())
    }
}
