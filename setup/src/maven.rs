//! Object stores that run on Java: a jar and those that it depends on, fetched with Maven.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{SetupError, run_command};
use crate::cache::Cache;
use crate::versions;

/// The dependencies of a pom.
pub(crate) struct Jars {
    name: &'static str,
    version: &'static str,
    pom: &'static str,
}

pub(crate) const S3PROXY: Jars = Jars {
    name: "s3proxy",
    version: versions::S3PROXY,
    pom: include_str!("../maven/s3proxy.xml"),
};

pub(crate) const S3MOCK: Jars = Jars {
    name: "s3mock",
    version: versions::S3MOCK,
    pom: include_str!("../maven/s3mock.xml"),
};

impl Jars {
    pub(crate) fn entry(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Fetches missing jars; returns their folder.
    pub(crate) fn ensure(&self, cache: &Cache) -> Result<PathBuf, SetupError> {
        let entry = self.entry();
        let step = format!("fetching {entry} with Maven (60 MB)");
        cache.get_or_build_with_progress(&entry, [&entry, &step], |out| self.fetch(out))
    }

    fn fetch(&self, out: &Path) -> Result<(), SetupError> {
        let io = |source| SetupError::io(format!("fetching {}", self.name))(source);
        let pom = out.join("pom.xml");
        fs::write(&pom, self.pom).map_err(io)?;
        let mut maven = Command::new("mvn");
        maven
            .args(["--quiet", "--batch-mode", "--file"])
            .arg(&pom)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", out.display()));
        run_command("fetching jars with Maven", &mut maven)?;
        fs::remove_file(pom).map_err(io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pom_names_the_version_that_is_named_here() {
        for jars in [S3PROXY, S3MOCK] {
            let version = format!("<version>{}</version>", jars.version);
            assert!(jars.pom.contains(&version), "{}", jars.name);
        }
    }
}
