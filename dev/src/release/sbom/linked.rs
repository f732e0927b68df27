//! What a program is built from, by cargo's resolution of features for the release's build.
//!
//! `cargo-cyclonedx` goes by `cargo metadata`, which adds features that only tests ask for, and so
//! crates that are in no program.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use fovea_setup::run_command;
use serde_json::Value;

use super::TARGET;
use crate::release::{ReleaseError, Work};

/// The workspace's crates: each line is a depth and a crate.
pub(super) fn tree(work: &Work<'_>) -> Result<String, ReleaseError> {
    let mut tree = Command::new("cargo");
    tree.args(["tree", "--locked", "--workspace", "--edges=normal"])
        .args(["--prefix=depth", "--format= {p}", "--target", TARGET])
        .current_dir(&work.source.root);
    Ok(run_command(
        "asking cargo for the programs' crates",
        &mut tree,
    )?)
}

/// Crates of a program, as `name version`.
pub(super) fn crates(tree: &str, program: &str) -> BTreeSet<String> {
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    let mut path: Vec<String> = Vec::new();
    for line in tree.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [depth, name, version, ..] = words[..] else {
            continue;
        };
        let this = format!("{name} {}", version.trim_start_matches('v'));
        path.truncate(depth.parse().unwrap_or_default());
        if let Some(user) = path.last() {
            uses.entry(user.clone()).or_default().insert(this.clone());
        }
        path.push(this);
    }
    let program = format!("{program} ");
    let mut next: Vec<String> = (uses.keys())
        .filter(|each| each.starts_with(&program))
        .cloned()
        .collect();
    let mut found = BTreeSet::new();
    while let Some(this) = next.pop() {
        if found.insert(this.clone()) {
            next.extend(uses.get(&this).into_iter().flatten().cloned());
        }
    }
    found
}

/// Leaves only these crates in a bill of materials.
pub(super) fn keep(about: &mut Value, linked: &BTreeSet<String>) {
    let mut gone = Vec::new();
    if let Some(components) = about["components"].as_array_mut() {
        components.retain(|each| {
            let word = |field: &str| each[field].as_str().unwrap_or_default();
            let is_linked = linked.contains(&format!("{} {}", word("name"), word("version")));
            gone.extend((!is_linked).then(|| each["bom-ref"].clone()));
            is_linked
        });
    }
    if let Some(dependencies) = about["dependencies"].as_array_mut() {
        dependencies.retain(|each| !gone.contains(&each["ref"]));
        for each in dependencies {
            if let Some(used) = each["dependsOn"].as_array_mut() {
                used.retain(|each| !gone.contains(each));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TREE: &str = "0 api v1.0.0 (/here/api)
1 kube v2.0.0
2 http v3.0.0

0 runner v1.0.0 (/here/runner)
1 tch v4.0.0
1 kube v2.0.0 (*)

0 tests v1.0.0 (/here/tests)
1 api v1.0.0 (/here/api) (*)
1 x509 v5.0.0
";

    #[test]
    fn a_program_has_the_crates_below_it_and_those_below_a_crate_that_was_listed_before() {
        let of = |program| Vec::from_iter(crates(TREE, program));
        assert_eq!(of("api"), ["api 1.0.0", "http 3.0.0", "kube 2.0.0"]);
        let runner = ["http 3.0.0", "kube 2.0.0", "runner 1.0.0", "tch 4.0.0"];
        assert_eq!(of("runner"), runner);
    }

    #[test]
    fn a_crate_that_no_program_is_built_from_is_taken_out_with_what_names_it() {
        let mut about = json!({
            "components": [
                {"name": "kube", "version": "2.0.0", "bom-ref": "kube"},
                {"name": "x509", "version": "5.0.0", "bom-ref": "x509"},
            ],
            "dependencies": [
                {"ref": "kube", "dependsOn": ["x509", "http"]},
                {"ref": "x509"},
            ],
        });
        keep(&mut about, &crates(TREE, "api"));
        let kept = json!({
            "components": [{"name": "kube", "version": "2.0.0", "bom-ref": "kube"}],
            "dependencies": [{"ref": "kube", "dependsOn": ["http"]}],
        });
        assert_eq!(about, kept);
    }
}
