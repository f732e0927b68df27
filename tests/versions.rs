//! The version of the workspace's Cargo.toml; its copies in other files must be equal.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::process::Command;

use fovea_harness::stack::{find, repository};
use fovea_setup::versions::KUBERNETES_RELEASES;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> fovea_crds::yaml::Value {
    fovea_crds::yaml::parse(&text(path)).unwrap()
}

fn output(program: &'static str, flag: &str) -> String {
    let output = Command::new(find(program).unwrap())
        .arg(flag)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_crate_takes_the_workspaces_version() {
    let manifest = text("Cargo.toml");
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    for member in members.split(',').map(|name| name.trim().trim_matches('"')) {
        let manifest = text(&format!("{member}/Cargo.toml"));
        assert!(
            manifest.contains("\nversion.workspace = true\n"),
            "{member}"
        );
    }
}

#[test]
fn the_chart_and_what_it_installs_are_of_the_workspaces_version() {
    let chart = yaml("charts/fovea/Chart.yaml");
    assert_eq!(chart["version"], VERSION);
    assert_eq!(chart["appVersion"], VERSION);
}

#[test]
fn the_changelog_begins_with_the_workspaces_version() {
    let changelog = text("CHANGELOG.md");
    let (_, newest) = changelog.split_once("\n## [").unwrap();
    assert!(newest.starts_with(&format!("{VERSION}] - ")));
}

/// 1.35: a release of Kubernetes without its patch.
fn minor(release: &str) -> &str {
    let (minor, _) = release.trim_start_matches('v').rsplit_once('.').unwrap();
    minor
}

#[test]
fn the_releases_of_kubernetes_that_tests_run_on_are_those_that_fovea_names() {
    let minors = KUBERNETES_RELEASES.map(minor);
    let (oldest, newest) = (minors[0], minors[minors.len() - 1]);
    let chart = yaml("charts/fovea/Chart.yaml");
    assert_eq!(chart["kubeVersion"], format!(">={oldest}.0-0"));
    for (path, words) in [
        ("Cargo.toml", format!("\"v{}\"", oldest.replace('.', "_"))),
        (
            "docs/src/install.md",
            format!("Kubernetes {oldest} to {newest},"),
        ),
        (
            ".github/workflows/nightly.yaml",
            format!("[v{}]", minors.join(", v")),
        ),
    ] {
        assert!(text(path).contains(&words), "{words} is not in {path}");
    }
}

#[test]
fn every_program_prints_the_workspaces_version() {
    for program in ["fovea-operator", "fovea-api", "fovea-runner"] {
        assert_eq!(
            output(program, "--version").trim(),
            format!("{program} {VERSION}")
        );
    }
}

#[test]
fn the_operator_makes_runners_of_its_own_version() {
    let help = output("fovea-operator", "--help");
    for image in [
        format!("[default: fovea-runner:{VERSION}]"),
        format!("[default: fovea-runner:{VERSION}-cuda]"),
    ] {
        assert!(help.contains(&image), "{image} is not in {help}");
    }
}

#[test]
fn upgrades_are_tested_from_another_version() {
    let packages = fs::read_dir(repository().join("tests/chart/previous")).unwrap();
    let this = format!("fovea-{VERSION}.tgz");
    for package in packages {
        let name = package.unwrap().file_name();
        assert_ne!(name.to_str(), Some(this.as_str()));
    }
}
