//! Names and labels of a pool's objects.

use fovea_store::Sha256;
use serde::Serialize;
use std::collections::BTreeMap;

/// Label of the pool that an object or a pod belongs to.
pub(crate) const POOL: &str = "fovea.dev/pool";
/// Label of the import that a Job, its pod and its Secret belong to.
pub(crate) const IMPORT: &str = "fovea.dev/import";
/// Annotation of pods: fingerprint of their models.
pub(crate) const MODELS: &str = "fovea.dev/models";
/// Annotation of pods: fingerprint of their template.
pub(crate) const TEMPLATE: &str = "fovea.dev/template";
/// Annotation of imports' Jobs: resourceVersion of the Secret with the hub's token at their start.
pub(crate) const TOKEN_VERSION: &str = "fovea.dev/token-version";
/// Annotation of imports' Jobs: fingerprint of the certificate authorities at their start.
pub(crate) const AUTHORITIES: &str = "fovea.dev/authorities";
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`], and the field manager.
pub(crate) const OPERATOR: &str = "fovea-operator";

/// Longest name of a pool's objects: a pod's name adds up to 17 characters, and is limited to 63.
const MAX_CHILD: usize = 52;
/// Longest value of a label.
const MAX_LABEL: usize = 63;
const SUFFIX: &str = "-runner";

/// The name of each of a pool's objects: a label that begins with a letter, as Services require. If the
/// pool's name has dots, begins with a digit or is long, a digest makes it unique.
pub(crate) fn child(pool: &str) -> String {
    let plain = pool.starts_with(|c: char| c.is_ascii_lowercase())
        && !pool.contains('.')
        && pool.len() + SUFFIX.len() <= MAX_CHILD;
    if plain {
        return format!("{pool}{SUFFIX}");
    }
    let digest = digest(pool, 8);
    let room = MAX_CHILD - SUFFIX.len() - digest.len() - "p--".len();
    let clean: String = pool.replace('.', "-").chars().take(room).collect();
    format!("p-{}-{digest}{SUFFIX}", clean.trim_end_matches('-'))
}

/// The value of [`POOL`] and of `app.kubernetes.io/instance`.
pub(crate) fn label(pool: &str) -> String {
    if pool.len() <= MAX_LABEL {
        return pool.to_owned();
    }
    let digest = digest(pool, 8);
    let clipped: String = pool.chars().take(MAX_LABEL - 1 - digest.len()).collect();
    format!("{}-{digest}", clipped.trim_end_matches(['.', '-']))
}

/// The name of the Job that imports a model, and the value of [`IMPORT`]: the same for all pools of a
/// namespace that need the same import.
pub(crate) fn import(repo: &str, revision: &str, token: Option<&str>) -> String {
    let what = format!("{repo}@{revision} {}", token.unwrap_or_default());
    format!("fovea-import-{}", digest(&what, 16))
}

/// Digest of a value's JSON, for annotations.
pub(crate) fn fingerprint(value: &impl Serialize) -> String {
    // Serialising these types does not fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    digest(&text, 16)
}

pub(crate) fn labels(pool: &str) -> BTreeMap<String, String> {
    let label = label(pool);
    of(
        "fovea-runner",
        [("app.kubernetes.io/instance", &label), (POOL, &label)],
    )
}

pub(crate) fn import_labels(import: &str) -> BTreeMap<String, String> {
    of(
        "fovea-import",
        [("app.kubernetes.io/instance", import), (IMPORT, import)],
    )
}

fn of(name: &str, more: [(&str, &str); 2]) -> BTreeMap<String, String> {
    let common = [
        ("app.kubernetes.io/name", name),
        ("app.kubernetes.io/part-of", "fovea"),
        (MANAGED_BY, OPERATOR),
    ];
    let all = common.into_iter().chain(more);
    all.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn digest(text: &str, digits: usize) -> String {
    let mut digest = Sha256::of(text.as_bytes()).to_string();
    digest.truncate(digits);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_pool_s_objects_carry_its_name() {
        assert_eq!(child("default"), "default-runner");
        assert_eq!(label("default"), "default");
    }

    #[test]
    fn different_pools_have_different_names() {
        assert_ne!(child("a.b"), child("a-b"));
        let long = "a".repeat(100);
        assert_ne!(child(&long), child(&format!("{long}a")));
        assert_ne!(label(&long), label(&format!("{long}a")));
        assert_ne!(
            import("a/b", "main", None),
            import("a/b", "main", Some("t"))
        );
    }

    proptest! {
        #[test]
        fn every_pool_s_objects_have_valid_names(
            pool in "[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}"
        ) {
            let child = child(&pool);
            prop_assert!(child.len() <= MAX_CHILD);
            prop_assert!(child.starts_with(|c: char| c.is_ascii_lowercase()));
            prop_assert!(child.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
            let label = label(&pool);
            prop_assert!(label.len() <= MAX_LABEL);
            prop_assert!(label.ends_with(|c: char| c.is_ascii_alphanumeric()));
        }
    }
}
