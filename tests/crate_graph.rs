//! The crate graph of the design: an edge that is not drawn here is not allowed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};

/// Who may depend on whom, tests aside.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("fovea-crds", &[]),
    ("fovea-protocol", &[]),
    ("fovea-store", &[]),
    (
        "fovea-operator",
        &["fovea-crds", "fovea-protocol", "fovea-store"],
    ),
    ("fovea-api", &["fovea-crds", "fovea-store"]),
    ("fovea-runner", &["fovea-protocol"]),
    ("fovea-dev", &[]),
    ("fovea-tests", &[]),
];

/// What a runner must not even link: it holds no credential and speaks to no cluster.
const NOT_IN_THE_RUNNER: [&str; 3] = ["kube", "k8s-openapi", "aws-sdk-s3"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .other_options(["--offline".to_owned()])
        .exec()
        .expect("cargo metadata")
}

#[test]
fn every_edge_between_our_crates_is_one_that_the_design_draws() {
    let metadata = metadata();
    let allowed: BTreeMap<_, BTreeSet<_>> = ALLOWED
        .iter()
        .map(|(name, edges)| (*name, edges.iter().copied().collect()))
        .collect();
    let members = metadata.workspace_packages();
    let names: BTreeSet<_> = members
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(
        names,
        allowed.keys().copied().collect(),
        "a crate came or went: draw its edges here"
    );
    for package in members {
        let edges: BTreeSet<_> = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
            .map(|dependency| dependency.name.as_str())
            .filter(|name| names.contains(name))
            .collect();
        assert_eq!(
            edges,
            allowed[package.name.as_str()],
            "edges of {}",
            package.name
        );
    }
}

#[test]
fn tests_may_use_the_harness_and_the_types_but_no_program_imports_another() {
    for package in metadata().workspace_packages() {
        for dependency in &package.dependencies {
            let program =
                ["fovea-operator", "fovea-api", "fovea-runner"].contains(&dependency.name.as_str());
            assert!(
                !program,
                "{} imports the program {}",
                package.name, dependency.name
            );
        }
    }
}

#[test]
fn only_the_runner_sees_torch_and_it_sees_neither_kubernetes_nor_s3() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let sees = reach(&metadata, package.name.as_str());
        assert_eq!(
            sees.contains("tch"),
            package.name.as_str() == "fovea-runner",
            "{}",
            package.name
        );
        if package.name.as_str() == "fovea-runner" {
            for forbidden in NOT_IN_THE_RUNNER {
                assert!(!sees.contains(forbidden), "the runner links {forbidden}");
            }
        }
    }
}

/// Everything that the crate links, tests aside.
fn reach(metadata: &Metadata, root: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let start = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == root);
    let mut open = vec![start.expect("the crate").id.clone()];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id.clone()) {
            let node = resolve
                .nodes
                .iter()
                .find(|node| node.id == id)
                .expect("a node");
            open.extend(
                node.deps
                    .iter()
                    .filter(|dep| {
                        dep.dep_kinds
                            .iter()
                            .any(|kind| kind.kind == DependencyKind::Normal)
                    })
                    .map(|dep| dep.pkg.clone()),
            );
        }
    }
    seen.iter()
        .map(|id| metadata[id].name.to_string())
        .collect()
}
