//! Where every object lies. This file is the layout; nothing else builds a key.
//!
//! ```text
//! uploads/<namespace>/<namespace uid>/<sha256>   pictures; the API alone writes them
//! results/<namespace>/<job uid>.json             results too large for a status
//! system/<job uid>/...                           the operator's plans and markers; no spec can name it
//! data/<namespace>/...                           the user's own objects
//! models/<owner>/<name>/<commit>/...             checkpoints; `fovea-runner fetch` writes them
//! ```

use crate::Sha256;
use std::fmt;

/// S3's own bound on a key.
pub const MAX_KEY_BYTES: usize = 1024;

/// The key of one object, inside the part of the bucket that it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    key: String,
    /// Ends with `/`; `key` starts with it.
    prefix: String,
}

/// A key that Fovea does not touch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// No name at all.
    #[error("an object key must not be empty")]
    Empty,
    /// Longer than S3 allows.
    #[error("an object key has at most {MAX_KEY_BYTES} bytes, this one {0}")]
    TooLong(usize),
    /// `..`, `.`, `//`, a leading or a final `/`: forms that proxies and stores normalise differently.
    #[error(
        "an object key has no empty, `.` or `..` segment and neither begins nor ends with `/`: {0:?}"
    )]
    NotNormalised(String),
    /// `%`, `\`, or a control character: what a second decoding could turn into another key.
    #[error("an object key has no `%`, no backslash and no control character: {0:?}")]
    ForbiddenCharacter(String),
}

impl ObjectKey {
    /// A picture that the API keeps. The namespace's uid is in the key, so that a namespace made
    /// again under an old name does not see the pictures of the one before.
    pub fn upload(
        namespace: &str,
        namespace_uid: &str,
        sha256: &Sha256,
    ) -> Result<Self, InvalidKey> {
        Self::below(
            format!(
                "uploads/{}/{}/",
                segment(namespace)?,
                segment(namespace_uid)?
            ),
            &sha256.to_string(),
        )
    }

    /// The whole result of a job whose status holds a summary only.
    pub fn result(namespace: &str, job_uid: &str) -> Result<Self, InvalidKey> {
        Self::below(
            format!("results/{}/", segment(namespace)?),
            &format!("{}.json", segment(job_uid)?),
        )
    }

    /// A plan or a marker that the operator keeps for a job.
    pub fn system(job_uid: &str, name: &str) -> Result<Self, InvalidKey> {
        Self::below(format!("system/{}/", segment(job_uid)?), name)
    }

    /// One of the user's own objects: `key` is what the job's spec says, below `data/<namespace>/`.
    pub fn data(namespace: &str, key: &str) -> Result<Self, InvalidKey> {
        Self::below(format!("data/{}/", segment(namespace)?), key)
    }

    /// A file of a checkpoint.
    pub fn model(repo: &ModelPrefix, commit: &str, file: &str) -> Result<Self, InvalidKey> {
        Self::below(format!("{}{}/", repo.0, segment(commit)?), file)
    }

    /// A file of the checkpoint that a folder holds.
    pub fn in_folder(folder: &ModelFolder, file: &str) -> Result<Self, InvalidKey> {
        Self::below(folder.0.clone(), file)
    }

    fn below(prefix: String, name: &str) -> Result<Self, InvalidKey> {
        check(name)?;
        let key = format!("{prefix}{name}");
        if key.len() > MAX_KEY_BYTES {
            return Err(InvalidKey::TooLong(key.len()));
        }
        Ok(Self { key, prefix })
    }

    /// The key as S3 takes it.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Whether the key still lies below the prefix it was made for; asked again at the moment of
    /// presigning, where a mistake would hand out somebody else's object.
    pub(crate) fn is_inside_its_prefix(&self) -> bool {
        self.prefix.ends_with('/')
            && self
                .key
                .strip_prefix(&self.prefix)
                .is_some_and(|name| check(name).is_ok())
    }
}

/// The part of the bucket that holds one repository's checkpoints: `models/<owner>/<name>/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPrefix(String);

impl ModelPrefix {
    /// Of the repository `owner/name`.
    pub fn new(owner: &str, name: &str) -> Result<Self, InvalidKey> {
        Ok(Self(format!(
            "models/{}/{}/",
            segment(owner)?,
            segment(name)?
        )))
    }

    /// With the final `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part of the bucket that holds one checkpoint: `models/<path>/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelFolder(String);

impl ModelFolder {
    /// At `path` below `models/`.
    pub fn new(path: &str) -> Result<Self, InvalidKey> {
        check(path)?;
        Ok(Self(format!("models/{path}/")))
    }

    /// Read back from [`ModelFolder::as_str`].
    pub fn parse(prefix: &str) -> Result<Self, InvalidKey> {
        let path = prefix
            .strip_prefix("models/")
            .and_then(|rest| rest.strip_suffix('/'));
        Self::new(path.ok_or_else(|| InvalidKey::NotNormalised(excerpt(prefix)))?)
    }

    /// With the final `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// One path segment, such as a namespace's name.
fn segment(text: &str) -> Result<&str, InvalidKey> {
    check(text)?;
    if text.contains('/') {
        return Err(InvalidKey::NotNormalised(excerpt(text)));
    }
    Ok(text)
}

fn check(name: &str) -> Result<(), InvalidKey> {
    if name.is_empty() {
        return Err(InvalidKey::Empty);
    }
    if name
        .chars()
        .any(|c| c == '%' || c == '\\' || c.is_control())
    {
        return Err(InvalidKey::ForbiddenCharacter(excerpt(name)));
    }
    if name
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return Err(InvalidKey::NotNormalised(excerpt(name)));
    }
    Ok(())
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_upload_is_addressed_by_namespace_its_uid_and_content() {
        let key = ObjectKey::upload("team-a", "4c1d", &Sha256::of(b"")).unwrap();
        assert_eq!(
            key.as_str(),
            "uploads/team-a/4c1d/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            ObjectKey::result("a", "uid").unwrap().as_str(),
            "results/a/uid.json"
        );
        assert_eq!(
            ObjectKey::data("a", "cats/1.jpg").unwrap().as_str(),
            "data/a/cats/1.jpg"
        );
    }

    #[test]
    fn a_checkpoint_lies_below_its_repository_and_commit() {
        let repo = ModelPrefix::new("microsoft", "resnet-50").unwrap();
        assert_eq!(repo.as_str(), "models/microsoft/resnet-50/");
        let key = ObjectKey::model(&repo, "c0ffee", "config.json").unwrap();
        assert_eq!(
            key.as_str(),
            "models/microsoft/resnet-50/c0ffee/config.json"
        );
        assert!(key.is_inside_its_prefix());
        for (owner, name) in [
            ("", "b"),
            ("a", ""),
            ("a/b", "c"),
            ("..", "c"),
            ("a", ".."),
            ("a%", "c"),
        ] {
            assert!(ModelPrefix::new(owner, name).is_err(), "{owner}/{name}");
        }
        assert!(ObjectKey::model(&repo, "..", "config.json").is_err());
        assert!(ObjectKey::model(&repo, "c0ffee", "../config.json").is_err());
    }

    #[test]
    fn a_folder_of_models_is_read_back_and_holds_only_what_lies_in_it() {
        let folder = ModelFolder::new("my-org/my-model/v1").unwrap();
        assert_eq!(folder.as_str(), "models/my-org/my-model/v1/");
        assert_eq!(ModelFolder::parse(folder.as_str()).unwrap(), folder);
        let key = ObjectKey::in_folder(&folder, "config.json").unwrap();
        assert_eq!(key.as_str(), "models/my-org/my-model/v1/config.json");
        assert!(key.is_inside_its_prefix());
        for wrong in ["", "a/", "/a", "a/../b", "a//b", "a%2f"] {
            assert!(ModelFolder::new(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["models/", "uploads/a/", "models/a", "models/../a/"] {
            assert!(ModelFolder::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(ObjectKey::in_folder(&folder, "../x").is_err());
    }

    #[test]
    fn a_key_that_could_mean_another_object_is_refused() {
        for wrong in [
            "",
            "/",
            "..",
            "../b",
            "a/../../b",
            "a//b",
            "/a",
            "a/",
            "./a",
            "a/.",
            "%2e%2e/b",
            "a\\b",
            "a\nb",
            "a\0",
            "a\u{7f}",
        ] {
            assert!(ObjectKey::data("ns", wrong).is_err(), "{wrong:?}");
        }
        assert!(ObjectKey::data("ns", &"a".repeat(MAX_KEY_BYTES)).is_err());
        for namespace in ["", "a/b", "..", "a%"] {
            assert!(ObjectKey::data(namespace, "a").is_err(), "{namespace:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_lies_in_its_namespace(key in "\\PC{0,40}") {
            if let Ok(made) = ObjectKey::data("ns", &key) {
                prop_assert!(made.as_str().starts_with("data/ns/"));
                prop_assert!(made.is_inside_its_prefix());
                prop_assert!(!made.as_str().contains("..") || !made.as_str().split('/').any(|s| s == ".."));
            }
        }
    }
}
