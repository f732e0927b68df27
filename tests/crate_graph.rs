//! The crate graph of the design: an edge that is not drawn here is not allowed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Allowed dependencies of each crate, without tests.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("fovea-crds", &[]),
    ("fovea-protocol", &[]),
    ("fovea-proxy", &[]),
    ("fovea-trust", &[]),
    ("fovea-store", &["fovea-proxy", "fovea-trust"]),
    ("fovea-telemetry", &["fovea-proxy"]),
    ("fovea-process", &["fovea-proxy", "fovea-telemetry"]),
    ("fovea-cluster", &["fovea-crds", "fovea-proxy"]),
    (
        "fovea-operator",
        &[
            "fovea-cluster",
            "fovea-crds",
            "fovea-process",
            "fovea-protocol",
            "fovea-proxy",
            "fovea-store",
            "fovea-telemetry",
            "fovea-trust",
        ],
    ),
    (
        "fovea-api",
        &[
            "fovea-cluster",
            "fovea-crds",
            "fovea-process",
            "fovea-store",
            "fovea-telemetry",
        ],
    ),
    (
        "fovea-runner",
        &[
            "fovea-process",
            "fovea-protocol",
            "fovea-proxy",
            "fovea-telemetry",
            "fovea-trust",
        ],
    ),
    // Built alone, before everything else: it has no dependency at all.
    ("fovea-setup", &[]),
    ("fovea-harness", &["fovea-setup"]),
    // What is read and written as YAML goes through the types' crate, which alone knows the library.
    (
        "fovea-dev",
        &[
            "fovea-cluster",
            "fovea-crds",
            "fovea-harness",
            "fovea-setup",
        ],
    ),
    (
        "fovea-tests",
        &[
            "fovea-crds",
            "fovea-dev",
            "fovea-harness",
            "fovea-protocol",
            "fovea-setup",
            "fovea-store",
        ],
    ),
];

/// Crates that the runner must not link: it has no credentials and calls no cluster.
const NOT_IN_THE_RUNNER: [&str; 3] = ["kube", "k8s-openapi", "aws-sdk-s3"];

/// The JSON of `cargo metadata`: the crate with its types enables a feature of `serde_json`, which would
/// build half of the dependencies again.
fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // One platform only: crates of others may be missing.
    let arguments = [
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ];
    let output = Command::new(cargo)
        .args(arguments)
        .output()
        .expect("cargo runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).expect("cargo's JSON")
}

/// A member's name, and its dependencies with their kinds; `null` is the normal one.
fn members(metadata: &Value) -> Vec<(&str, Vec<(&str, &Value)>)> {
    let ours = |package: &&Value| package["source"].is_null();
    let packages = list(&metadata["packages"]).iter().filter(ours);
    packages
        .map(|package| {
            let dependencies = list(&package["dependencies"]).iter();
            let named = dependencies.map(|each| (text(&each["name"]), &each["kind"]));
            (text(&package["name"]), named.collect())
        })
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[test]
fn every_edge_between_our_crates_is_one_that_the_design_draws() {
    let metadata = metadata();
    let allowed: BTreeMap<_, BTreeSet<_>> = ALLOWED
        .iter()
        .map(|(name, edges)| (*name, edges.iter().copied().collect()))
        .collect();
    let members = members(&metadata);
    let names: BTreeSet<_> = members.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        allowed.keys().copied().collect(),
        "a crate came or went: draw its edges here"
    );
    for (name, dependencies) in members {
        let edges: BTreeSet<_> = dependencies
            .into_iter()
            .filter(|(edge, kind)| *kind != "dev" && names.contains(edge))
            .map(|(edge, _)| edge)
            .collect();
        assert_eq!(edges, allowed[name], "edges of {name}");
    }
}

#[test]
fn tests_may_use_the_harness_and_the_types_but_no_program_imports_another() {
    for (name, dependencies) in members(&metadata()) {
        for (edge, _) in dependencies {
            let program = ["fovea-operator", "fovea-api", "fovea-runner"].contains(&edge);
            assert!(!program, "{name} imports the program {edge}");
        }
    }
}

#[test]
fn only_the_runner_sees_torch_and_it_sees_neither_kubernetes_nor_s3() {
    let metadata = metadata();
    for (name, _) in members(&metadata) {
        let sees = reach(&metadata, name);
        assert_eq!(sees.contains("tch"), name == "fovea-runner", "{name}");
        if name == "fovea-runner" {
            for forbidden in NOT_IN_THE_RUNNER {
                assert!(!sees.contains(forbidden), "the runner links {forbidden}");
            }
        }
    }
}

/// All dependencies of a crate, without those of tests.
fn reach<'a>(metadata: &'a Value, root: &str) -> BTreeSet<&'a str> {
    let packages = list(&metadata["packages"]);
    let name_of: BTreeMap<&str, &str> = packages
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let nodes: BTreeMap<&str, &[Value]> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| (text(&node["id"]), list(&node["deps"])))
        .collect();
    let start = name_of.iter().find(|(_, name)| **name == root);
    let mut open = vec![*start.expect("the crate").0];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let normal = |dep: &&Value| {
                list(&dep["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            };
            open.extend(nodes[id].iter().filter(normal).map(|dep| text(&dep["pkg"])));
        }
    }
    seen.into_iter().map(|id| name_of[id]).collect()
}

#[test]
fn the_setup_tool_depends_on_no_crate_so_that_nothing_is_compiled_twice() {
    let metadata = metadata();
    assert_eq!(
        reach(&metadata, "fovea-setup"),
        BTreeSet::from(["fovea-setup"])
    );
}
