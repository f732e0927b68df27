//! The layout of the bucket. Nothing else builds a key.
//!
//! ```text
//! uploads/<namespace>/<namespace uid>/<sha256>   pictures; only the API writes them
//! results/<namespace>/<job uid>.json             results that are too large for a status
//! results/<namespace>/<namespace uid>/<job>/<expiry>-<job uid>.json   records of jobs deleted early
//! data/<namespace>/...                           the user's own objects
//! data/<namespace>/fovea-batches/<uuid>/<name>    what was uploaded with a batch; only the API writes it
//! reuse/<namespace>/<namespace uid>/...          answers for jobs with `spec.reuse`
//! models/<owner>/<name>/<commit>/...             checkpoints; `fovea-runner fetch` writes them
//! system/<job uid>/...                           the operator's own: plan and parts of a batch
//! data/<namespace>/.fovea-namespace              marker: the namespace whose jobs may read the folder
//! system/installation                            marker: the installation that the bucket belongs to
//! system/probes/<uuid>/...                        what a probe of the store writes and deletes again
//! ```

use crate::Sha256;
use std::fmt;

/// S3's own bound on a key.
pub const MAX_KEY_BYTES: usize = 1024;

/// The folder of manifests and archives that were uploaded with batches, below `data/<namespace>/`.
pub const BATCH_UPLOADS: &str = "fovea-batches";

/// The object in a namespace's folder that names its owner.
const FOLDER_OWNER: &str = ".fovea-namespace";

/// The folder of probes.
pub(crate) const PROBES: &str = "system/probes/";

/// Names of the objects of a probe: what stores encode, sort or nest in ways of their own. Nothing else has a `%`.
pub(crate) const PROBE_NAMES: [&str; 6] = ["plain", "a b", "a+b", "a%2Fb", "\u{fc}", "nested/leaf"];

/// The key of one object, below the prefix that it was built for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    key: String,
    /// Ends with `/`; `key` starts with it.
    prefix: String,
}

/// Why a key is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// An empty key or segment.
    #[error("an object key must not be empty")]
    Empty,
    /// The key is longer than S3 allows.
    #[error("an object key has at most {MAX_KEY_BYTES} bytes, this one {0}")]
    TooLong(usize),
    /// `..`, `.`, `//`, or a `/` at the start or end: proxies and stores normalise these differently.
    #[error(
        "an object key has no empty, `.` or `..` segment and neither begins nor ends with `/`: {0:?}"
    )]
    NotNormalised(String),
    /// `%`, `\`, or a control character: decoded a second time, the key could become another one.
    #[error("an object key has no `%`, no backslash and no control character: {0:?}")]
    ForbiddenCharacter(String),
}

impl ObjectKey {
    /// An uploaded picture. The key contains the namespace's uid, so that a namespace recreated
    /// under the same name cannot read its predecessor's pictures.
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

    /// The full result of a job whose status holds only a summary.
    pub fn result(namespace: &str, job_uid: &str) -> Result<Self, InvalidKey> {
        Self::below(
            format!("results/{}/", segment(namespace)?),
            &format!("{}.json", segment(job_uid)?),
        )
    }

    /// The record of a job that was deleted before its `ttlSecondsAfterFinished` was over. `expires` is
    /// the end of that time, in seconds since the Unix epoch.
    pub fn record(
        namespace: &str,
        namespace_uid: &str,
        job: &str,
        (expires, job_uid): (u64, &str),
    ) -> Result<Self, InvalidKey> {
        Self::below(
            Self::records(namespace, namespace_uid, job)?,
            &format!("{expires}-{}.json", segment(job_uid)?),
        )
    }

    /// The prefix of all records of one job name, including the final `/`.
    pub(crate) fn records(
        namespace: &str,
        namespace_uid: &str,
        job: &str,
    ) -> Result<String, InvalidKey> {
        Ok(format!(
            "results/{}/{}/{}/",
            segment(namespace)?,
            segment(namespace_uid)?,
            segment(job)?
        ))
    }

    /// An object of the operator's own for one job. Only the operator and its signed URLs write there,
    /// and no spec can name it.
    pub fn system(job_uid: &str, name: &str) -> Result<Self, InvalidKey> {
        Self::below(format!("system/{}/", segment(job_uid)?), name)
    }

    /// The answer that a single job has had to a question.
    pub fn answer(
        namespace: &str,
        namespace_uid: &str,
        question: &Sha256,
    ) -> Result<Self, InvalidKey> {
        Self::answers(namespace, namespace_uid, &question.to_string())
    }

    /// An object with answers. The key contains the namespace's uid, as an upload's does.
    pub fn answers(namespace: &str, namespace_uid: &str, name: &str) -> Result<Self, InvalidKey> {
        let prefix = Self::all_answers(namespace, namespace_uid)?;
        Self::below(prefix, segment(name)?)
    }

    /// The prefix of all answers in a namespace, including the final `/`.
    pub(crate) fn all_answers(namespace: &str, namespace_uid: &str) -> Result<String, InvalidKey> {
        Ok(format!(
            "reuse/{}/{}/",
            segment(namespace)?,
            segment(namespace_uid)?
        ))
    }

    /// One of the user's own objects: `key` comes from the job's spec and is relative to
    /// `data/<namespace>/`.
    pub fn data(namespace: &str, key: &str) -> Result<Self, InvalidKey> {
        Self::below(format!("data/{}/", segment(namespace)?), key)
    }

    /// The marker that names the owner of a namespace's folder below `data/`.
    pub fn folder_owner(namespace: &str) -> Result<Self, InvalidKey> {
        Self::data(namespace, FOLDER_OWNER)
    }

    /// The marker that names the installation that the bucket belongs to.
    pub fn installation() -> Self {
        Self {
            key: "system/installation".to_owned(),
            prefix: "system/".to_owned(),
        }
    }

    /// The objects of the probe with this id, one for each of [`PROBE_NAMES`].
    pub(crate) fn probe(id: &str) -> Result<[Self; PROBE_NAMES.len()], InvalidKey> {
        let prefix = format!("{PROBES}{}/", segment(id)?);
        Ok(PROBE_NAMES.map(|name| Self {
            key: format!("{prefix}{name}"),
            prefix: prefix.clone(),
        }))
    }

    /// The object of a probe that has this key, if one has.
    pub(crate) fn probe_named(key: &str) -> Option<Self> {
        let (id, _) = key.strip_prefix(PROBES)?.split_once('/')?;
        let objects = is_uid(id).then(|| Self::probe(id))?.ok()?;
        objects.into_iter().find(|object| object.key == key)
    }

    /// A file of the checkpoint in `folder`.
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

    /// The key as it is sent to S3.
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Whether the key is below the prefix it was built for. Checked again before presigning, where
    /// a mistake would give access to somebody else's object.
    pub(crate) fn is_inside_its_prefix(&self) -> bool {
        self.prefix.ends_with('/')
            && self
                .key
                .strip_prefix(&self.prefix)
                .is_some_and(|name| check(name).is_ok())
    }
}

/// The prefix of one repository's checkpoints: `models/<owner>/<name>/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPrefix(String);

impl ModelPrefix {
    /// The prefix of the repository `owner/name`.
    pub fn new(owner: &str, name: &str) -> Result<Self, InvalidKey> {
        Ok(Self(format!(
            "models/{}/{}/",
            segment(owner)?,
            segment(name)?
        )))
    }

    /// The prefix, including the final `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The prefix of one checkpoint: `models/<path>/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelFolder(String);

impl ModelFolder {
    /// Checks `path` and names the folder `models/<path>/`.
    pub fn new(path: &str) -> Result<Self, InvalidKey> {
        check(path)?;
        Ok(Self(format!("models/{path}/")))
    }

    /// Parses what [`ModelFolder::as_str`] returns.
    pub fn parse(prefix: &str) -> Result<Self, InvalidKey> {
        let path = prefix
            .strip_prefix("models/")
            .and_then(|rest| rest.strip_suffix('/'));
        Self::new(path.ok_or_else(|| InvalidKey::NotNormalised(excerpt(prefix)))?)
    }

    /// The prefix, including the final `/`.
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

/// Whether `text` is a uid in Kubernetes' form: a lower-case UUID.
pub(crate) fn is_uid(text: &str) -> bool {
    let fits = |(index, b): (usize, u8)| match index {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_upload_is_addressed_by_namespace_uid_and_content() {
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
    fn markers_lie_where_the_documentation_says() {
        assert_eq!(
            ObjectKey::folder_owner("a").unwrap().as_str(),
            "data/a/.fovea-namespace"
        );
        assert!(ObjectKey::folder_owner("a/b").is_err());
        let installation = ObjectKey::installation();
        assert_eq!(installation.as_str(), "system/installation");
        assert!(installation.is_inside_its_prefix());
    }

    #[test]
    fn a_checkpoint_is_below_its_repository_and_commit() {
        let repo = ModelPrefix::new("microsoft", "resnet-50").unwrap();
        assert_eq!(repo.as_str(), "models/microsoft/resnet-50/");
        let commit = ModelFolder::new("microsoft/resnet-50/c0ffee").unwrap();
        let key = ObjectKey::in_folder(&commit, "config.json").unwrap();
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
        assert!(ModelFolder::new("microsoft/resnet-50/..").is_err());
        assert!(ObjectKey::in_folder(&commit, "../config.json").is_err());
    }

    #[test]
    fn a_model_folder_can_be_parsed_back_and_contains_only_keys_below_it() {
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
        fn every_accepted_key_is_in_its_namespace(key in "\\PC{0,40}") {
            if let Ok(made) = ObjectKey::data("ns", &key) {
                prop_assert!(made.as_str().starts_with("data/ns/"));
                prop_assert!(made.is_inside_its_prefix());
                prop_assert!(!made.as_str().contains("..") || !made.as_str().split('/').any(|s| s == ".."));
            }
        }
    }
}
