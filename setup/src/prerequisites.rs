//! Checks the machine's prerequisites; the error lists everything that is missing and how to install it.

use std::fmt;
use std::process::{Command, Stdio};

use super::{Part, SetupError, debian, envoy, go, ingress_crds, libtorch};
use crate::cache::Cache;
use crate::stores::ObjectStore;
use crate::versions;

#[derive(Debug, Default)]
pub struct Missing(Vec<Need>);

#[derive(Debug)]
struct Need {
    what: String,
    found: Option<String>,
    how: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("before this can go on, please install:")?;
        for Need { what, found, how } in &self.0 {
            write!(f, "\n  - {what}")?;
            if let Some(found) = found {
                write!(f, " (found {found})")?;
            }
            write!(f, "\n      {how}")?;
        }
        Ok(())
    }
}

/// Checks for the tools that building the missing ones of `parts` needs.
pub(super) fn check(cache: &Cache, parts: &[Part]) -> Result<(), SetupError> {
    go::known_release().map_err(SetupError::Release)?;
    let tools = parts.iter().flat_map(|part| go::of(*part));
    let go_is_needed = { tools }.any(|tools| !cache.has(&tools.entry()))
        || parts.contains(&Part::Ingress) && !ingress_crds::are_there(cache);
    let libtorch = parts.contains(&Part::Libtorch) && !cache.has(&libtorch::entry())
        || parts.contains(&Part::LibtorchCuda) && !cache.has(&libtorch::cuda_entry());
    let envoy = parts.contains(&Part::Ingress) && !envoy::is_there(cache);
    let mut missing = Vec::new();
    if parts.contains(&Part::Node) && !cache.has(&debian::entry()) {
        missing.extend(apt(output("apt-get", &["--version"]).as_deref()));
    }
    if go_is_needed {
        missing.extend(go(output("go", &["version"]).as_deref()));
    }
    if libtorch || envoy {
        missing.extend(pip(
            output("python3", &["-m", "pip", "--version"]).as_deref()
        ));
    }
    if libtorch {
        missing.extend(compiler(output("cc", &["--version"]).as_deref()));
    }
    if parts.contains(&Part::Store(ObjectStore::CephRgw)) {
        missing.extend(apt(output("apt-get", &["--version"]).as_deref()));
    }
    if parts.contains(&Part::Store(ObjectStore::Moto)) {
        missing.extend(pip(
            output("python3", &["-m", "pip", "--version"]).as_deref()
        ));
    }
    let on_java = [ObjectStore::S3Proxy, ObjectStore::S3Mock].map(Part::Store);
    if on_java.iter().any(|part| parts.contains(part)) {
        missing.extend(maven(output("mvn", &["--version"]).as_deref()));
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(SetupError::Missing(Missing(missing)))
    }
}

/// A program's output; `None` if it is missing or fails.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

fn go(version: Option<&str>) -> Option<Need> {
    let (major, minor) = versions::GO;
    let found = version.map(|text| text.split_whitespace().nth(2).unwrap_or(text));
    let is_old = found
        .and_then(go_version)
        .is_none_or(|found| found < versions::GO);
    is_old.then(|| Need {
        what: format!("Go {major}.{minor} or newer"),
        found: found.map(str::to_owned),
        how: "https://go.dev/dl, or where the distribution's is new enough: apt-get install golang",
    })
}

/// `go1.26.8` -> (1, 26)
fn go_version(word: &str) -> Option<(u32, u32)> {
    let mut parts = word.strip_prefix("go")?.split(['.', 'r', 'b', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn apt(version: Option<&str>) -> Option<Need> {
    let what = "Debian's or Ubuntu's apt-get, for containerd, runc, iptables, buildah and Ceph";
    let how = "elsewhere use a cluster that you have: CLUSTER=current";
    any(version, what, how)
}

fn pip(version: Option<&str>) -> Option<Need> {
    let how = "Debian, Ubuntu: apt-get install python3-pip; Fedora: dnf install python3-pip";
    any(version, "Python 3 with pip", how)
}

fn compiler(version: Option<&str>) -> Option<Need> {
    let how = "Debian, Ubuntu: apt-get install build-essential; Fedora: dnf install gcc-c++ make";
    any(version, "a C and C++ compiler", how)
}

fn maven(version: Option<&str>) -> Option<Need> {
    let how = "Debian, Ubuntu: apt-get install maven default-jre-headless";
    any(version, "Maven, with Java 17 or newer", how)
}

/// What may have any version.
fn any(version: Option<&str>, what: &str, how: &'static str) -> Option<Need> {
    version.is_none().then(|| Need {
        what: what.to_owned(),
        found: None,
        how,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_that_is_too_old_is_named_with_what_was_found() {
        let need = go(Some("go version go1.19.8 linux/amd64")).unwrap();
        assert_eq!(need.found.as_deref(), Some("go1.19.8"));
    }

    #[test]
    fn release_candidates_and_newer_releases_of_go_will_do() {
        for version in ["go1.26rc1", "go1.26.4", "go1.27.1-custom", "go2.0"] {
            let text = format!("go version {version} linux/amd64");
            assert!(go(Some(&text)).is_none(), "{version}");
        }
    }

    #[test]
    fn every_missing_program_is_listed_with_its_installation() {
        let needs = [go(None), pip(None), compiler(None)];
        let text = Missing(needs.into_iter().flatten().collect()).to_string();
        for part in ["Go 1.", "go.dev/dl", "python3-pip", "build-essential"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
