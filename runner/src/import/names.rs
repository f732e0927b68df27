//! Names that become parts of paths and URLs, checked when parsed.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The hub's own bound on a repository's name.
const MAX_NAME_CHARS: usize = 96;

const MAX_PATH_CHARS: usize = 255;

/// Largest number of components of a path.
const MAX_DEPTH: usize = 4;

const MAX_REVISION_CHARS: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not {text:?}")]
pub struct InvalidName {
    what: &'static str,
    text: String,
}

impl InvalidName {
    fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: text.chars().take(80).collect(),
        }
    }
}

/// Whether the text has only letters, digits, `.`, `_` and `-`, and no leading `.`.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && !text.starts_with('.') && text.chars().all(plain)
}

/// `OWNER/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoId {
    owner: String,
    name: String,
}

impl RepoId {
    /// The part before the `/`.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The part after the `/`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for RepoId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.split_once('/') {
            // The cache separates owner and name by `--`.
            Some((owner, name))
                if [owner, name].iter().all(|part| {
                    is_plain(part) && part.len() <= MAX_NAME_CHARS && !part.contains("--")
                }) && !text.contains("..") =>
            {
                Ok(Self {
                    owner: owner.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(InvalidName::new(
                "a repository is OWNER/NAME, such as Salesforce/blip-image-captioning-base; it",
                text,
            )),
        }
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// A branch, a tag, a commit or `refs/pr/<number>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The commit, if the revision is a commit's digest.
    pub fn commit(&self) -> Option<Commit> {
        self.0.parse().ok()
    }
}

impl FromStr for Revision {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() <= MAX_REVISION_CHARS && text.split('/').all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            let what = "a revision is a branch, a tag or a commit; it";
            Err(InvalidName::new(what, text))
        }
    }
}

/// A commit's digest: 40 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Commit(String);

impl FromStr for Commit {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() == 40 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
            Ok(Self(text.to_owned()))
        } else {
            let what = "a commit is 40 hexadecimal digits; it";
            Err(InvalidName::new(what, text))
        }
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file's relative path in a checkpoint, which cannot leave its folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

impl FilePath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FilePath {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let parts = text.split('/').count();
        if text.len() <= MAX_PATH_CHARS && parts <= MAX_DEPTH && text.split('/').all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            let what = "a checkpoint's file has a relative path of plain names; it";
            Err(InvalidName::new(what, text))
        }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Serialises the types as text.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    )*};
}

as_text!(RepoId, Commit, FilePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_an_owner_and_a_name() {
        let repo: RepoId = "Salesforce/blip-image_captioning.base".parse().unwrap();
        assert_eq!(
            (repo.owner(), repo.name()),
            ("Salesforce", "blip-image_captioning.base")
        );
        for wrong in [
            "gpt2", "a/b/c", "/b", "a/", "../b", "a/..", "a/b--c", "a b/c", "a/b?c", "a/é",
            "a\\b/c",
        ] {
            assert!(wrong.parse::<RepoId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_revision_may_have_slashes_but_no_parent_components() {
        for right in ["main", "v1.0", "refs/pr/3", &"a".repeat(40)] {
            assert!(right.parse::<Revision>().is_ok(), "{right}");
        }
        for wrong in [
            "", "..", "a/../b", "/main", "main/", "a b", "a%2f", ".hidden", "a\nb",
        ] {
            assert!(wrong.parse::<Revision>().is_err(), "{wrong}");
        }
        assert!("main".parse::<Revision>().unwrap().commit().is_none());
    }

    #[test]
    fn a_files_path_cannot_leave_its_checkpoint() {
        for right in ["config.json", "model-00001-of-00002.safetensors", "a/b/c/d"] {
            assert!(right.parse::<FilePath>().is_ok(), "{right}");
        }
        let wrong = "|..|../x|a/../../x|/etc/passwd|a//b|a/|a\\b|a/b/c/d/e|a\0b|.git/config|~|C:x";
        for wrong in wrong.split('|') {
            assert!(wrong.parse::<FilePath>().is_err(), "{wrong}");
        }
        assert!("a".repeat(256).parse::<FilePath>().is_err());
    }
}
