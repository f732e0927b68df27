//! The chart, packaged: the same bytes for the same commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fovea_crds::yaml::{self, Value};

use super::source::Source;
use super::{ReleaseError, VERSION, Work, empty, read};
use crate::chart::CHART;
use fovea_setup::cache::Cache;
use fovea_setup::go::HELM;
use fovea_setup::run_command;

pub(super) fn file() -> String {
    format!("fovea-{VERSION}.tgz")
}

/// The commit's chart has this version: helm would else write it in, and the commit say something
/// else than the release.
pub(super) fn check(source: &Source) -> Result<(), ReleaseError> {
    let about = about(&read(&source.path(CHART).join("Chart.yaml"))?)?;
    for field in ["version", "appVersion"] {
        if about[field] != VERSION {
            let what = format!("{field} is not {VERSION}, which Cargo.toml says");
            return Err(ReleaseError::unexpected("Chart.yaml", &what));
        }
    }
    Ok(())
}

pub(super) fn package(work: &Work<'_>) -> Result<(), ReleaseError> {
    let packaged = work.scratch.join("chart");
    empty(&packaged)?;
    let mut package = helm(work.cache, work.scratch);
    package
        .arg("package")
        .arg(work.source.path(CHART))
        .arg("--destination")
        .arg(&packaged);
    run_command("packaging the chart", &mut package)?;
    pack_again(work, &packaged)
}

/// helm's package has the time of its making in it.
fn pack_again(work: &Work<'_>, folder: &Path) -> Result<(), ReleaseError> {
    let mut unpack = Command::new("tar");
    unpack
        .arg("-xf")
        .arg(folder.join(file()))
        .arg("-C")
        .arg(folder);
    run_command("unpacking the chart", &mut unpack)?;
    let archive = folder.join("fovea.tar");
    let mut pack = Command::new("tar");
    pack.args(["--create", "--format=ustar", "--sort=name"])
        .args([
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--mode=u=rwX,go=rX",
        ])
        .arg(format!("--mtime=@{}", work.source.epoch_seconds))
        .arg("--file")
        .arg(&archive)
        .arg("-C")
        .arg(folder)
        .arg("fovea");
    run_command("packing the chart", &mut pack)?;
    let mut compress = Command::new("gzip");
    run_command(
        "packing the chart",
        compress.args(["-9", "-n"]).arg(&archive),
    )?;
    fs::rename(archive.with_extension("tar.gz"), work.folder.join(file()))
        .map_err(ReleaseError::io("moving the chart"))
}

pub(super) fn about(text: &str) -> Result<Value, ReleaseError> {
    yaml::parse(text).map_err(|error| ReleaseError::unexpected("Chart.yaml", &error))
}

/// helm with its own folders in `scratch`.
pub(super) fn helm(cache: &Cache, scratch: &Path) -> Command {
    let home = |name: &str| -> PathBuf { scratch.join("helm").join(name) };
    let mut helm = Command::new(HELM.program(cache, "helm"));
    helm.env("HELM_CACHE_HOME", home("cache"))
        .env("HELM_CONFIG_HOME", home("config"))
        .env("HELM_DATA_HOME", home("data"));
    helm
}
