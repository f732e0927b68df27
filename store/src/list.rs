//! The sweeper's requests: lists of the prefixes that Fovea fills itself, the owner of each listed
//! object, and a deletion that keeps an object that was written again.

use crate::key::{PROBES, is_uid};
use crate::listing::{Listing, incomplete};
use crate::{BATCH_UPLOADS, ObjectKey, Sha256, Store, StoreError};
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use std::time::{Duration, Instant, SystemTime};

/// Maximum number of objects on one page of a list; S3's own limit.
pub const MAX_PAGE: usize = 1000;

/// A deletion is only sent this soon after the object's age was read.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// A prefix that Fovea fills and may delete from. `models/` is the user's and has none, as the rest of
/// `data/` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Pictures, below `uploads/`.
    Uploads,
    /// Large results of jobs, below `results/`.
    Results,
    /// Plans and parts of batches, below `system/`.
    System,
    /// Answers for jobs with `spec.reuse`, below `reuse/`.
    Reuse,
    /// Uploads of batches, below `data/<namespace>/fovea-batches/`: listed by namespace.
    BatchUploads,
}

impl Part {
    /// Every part that can be listed for all namespaces at once, in the order of a sweep.
    pub const ALL: [Self; 4] = [Self::Uploads, Self::Results, Self::System, Self::Reuse];

    /// The part's prefix, including the final `/`.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Uploads => "uploads/",
            Self::Results => "results/",
            Self::System => "system/",
            Self::Reuse => "reuse/",
            Self::BatchUploads => "data/",
        }
    }

    /// The prefix of one namespace, if one is given and the part's keys name it; `None` if the part cannot be
    /// listed so.
    fn prefix_of(self, namespace: Option<&str>) -> Option<String> {
        match (namespace, self) {
            (None, Self::BatchUploads) => None,
            (None, _) | (Some(_), Self::System) => Some(self.prefix().to_owned()),
            (Some(namespace), Self::BatchUploads) => {
                Some(format!("data/{namespace}/{BATCH_UPLOADS}/"))
            }
            (Some(namespace), _) => Some(format!("{}{namespace}/", self.prefix())),
        }
    }
}

/// The jobs that an object is kept for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owned {
    /// A picture: kept for every job of this namespace that refers to its digest.
    ByNamespace {
        /// Name of the namespace, from the key.
        namespace: String,
        /// Uid of the namespace, from the key.
        namespace_uid: String,
        /// Digest of the picture, from the key.
        sha256: Sha256,
    },
    /// A result: kept for one job, or for the job's record.
    ByJob {
        /// Uid of the job, from the key.
        uid: String,
    },
    /// An upload of a batch: kept for every job of this namespace whose input names it.
    ByInput {
        /// Name of the namespace, from the key.
        namespace: String,
        /// The upload's own folder below `data/<namespace>/`.
        folder: String,
    },
    /// Answers for jobs with `spec.reuse`: kept for as long as the operator is told, while their namespace
    /// exists.
    Answers {
        /// The namespace's name.
        namespace: String,
        /// The namespace's uid.
        namespace_uid: String,
    },
    /// The record of a job that was deleted early: kept until it expires, while its namespace exists.
    Record {
        /// The namespace's name.
        namespace: String,
        /// The namespace's uid.
        namespace_uid: String,
        /// The job's uid.
        job_uid: String,
        /// Time from which the record no longer counts.
        expires: SystemTime,
    },
    /// What a probe of the store has left: kept for nobody.
    Probe,
}

/// One object of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Key and owner; `None` if Fovea does not build such keys.
    pub object: Option<(ObjectKey, Owned)>,
    /// Time of the last write, by the store's clock.
    pub modified: SystemTime,
}

/// One page of a list, in the store's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPage {
    /// At most [`MAX_PAGE`] objects.
    pub objects: Vec<Listed>,
    /// Continuation token of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// Outcome of a conditional deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object no longer exists: this deletion or an earlier one removed it.
    Gone,
    /// It was written again and was kept.
    PutAgain,
    /// Reading its age took too long, so it was kept for now.
    TooSlow,
}

impl Store {
    /// One page of a part's objects: the page with the token `next`, or the first. With `namespace`,
    /// only that namespace's objects, but of `system/`, whose keys name none, those of all; none if the part
    /// cannot be listed so. The installation's marker is left out.
    pub async fn list(
        &self,
        part: Part,
        namespace: Option<&str>,
        next: Option<String>,
    ) -> Result<ObjectPage, StoreError> {
        let Some(prefix) = part.prefix_of(namespace) else {
            return Ok(ObjectPage {
                objects: Vec::new(),
                next: None,
            });
        };
        self.list_below(part, prefix, next).await
    }

    /// One page of the objects below `prefix`, which lies in `part`.
    pub(crate) async fn list_below(
        &self,
        part: Part,
        prefix: String,
        next: Option<String>,
    ) -> Result<ObjectPage, StoreError> {
        let page = self.list_page(Listing::below(&prefix), next).await?;
        let mut objects = Vec::with_capacity(page.objects.len());
        for object in page.objects {
            if object.key == ObjectKey::installation().as_str() {
                continue;
            }
            objects.push(Listed {
                object: owner(part, &object.key),
                modified: object.modified.ok_or_else(|| incomplete("names no time"))?,
            });
        }
        Ok(ObjectPage {
            objects,
            next: page.next,
        })
    }

    /// Deletes an object unless it was written after `limit`. Its age is read again right before.
    ///
    /// In a versioned bucket the deletion names the version whose age was read, so a write in between
    /// is always kept. Without versioning S3 has no such condition, and a write within that one round
    /// trip is lost; a deletion is therefore never sent twice or late.
    pub async fn delete_unless_put_after(
        &self,
        key: &ObjectKey,
        limit: SystemTime,
    ) -> Result<Deletion, StoreError> {
        let failed = |error: StoreError| match error {
            StoreError::NotFound { .. } => Ok(Deletion::Gone),
            error => Err(error),
        };
        let began = Instant::now();
        let head = self.client.head_object().bucket(&self.bucket);
        let found = match head.key(key.as_str()).send().await {
            Ok(found) => found,
            Err(error) => return failed(StoreError::from_sdk(&error, &self.bucket, key.as_str())),
        };
        let modified = found.last_modified().copied();
        let modified = modified.and_then(|time| SystemTime::try_from(time).ok());
        if modified.is_none_or(|modified| modified > limit) {
            return Ok(Deletion::PutAgain);
        }
        if began.elapsed() > STALE_AFTER {
            return Ok(Deletion::TooSlow);
        }
        let version = found.version_id().filter(|version| *version != "null");
        let deletion = self.client.delete_object().bucket(&self.bucket);
        let once = Builder::new().retry_config(RetryConfig::disabled());
        let deleted = deletion
            .key(key.as_str())
            .set_version_id(version.map(str::to_owned))
            .customize()
            .config_override(once)
            .send()
            .await;
        match deleted {
            Ok(_) => Ok(Deletion::Gone),
            Err(error) => failed(StoreError::from_sdk(&error, &self.bucket, key.as_str())),
        }
    }
}

/// The owner that a key names, if it is exactly a key that Fovea builds.
fn owner(part: Part, key: &str) -> Option<(ObjectKey, Owned)> {
    let mut segments = key.strip_prefix(part.prefix())?.split('/');
    let (made, owned) = match part {
        Part::Uploads => {
            let namespace = segments.next().filter(|text| is_label(text))?;
            let namespace_uid = segments.next().filter(|text| is_uid(text))?;
            let sha256: Sha256 = segments.next()?.parse().ok()?;
            let made = ObjectKey::upload(namespace, namespace_uid, &sha256).ok()?;
            let owned = Owned::ByNamespace {
                namespace: namespace.to_owned(),
                namespace_uid: namespace_uid.to_owned(),
                sha256,
            };
            (made, owned)
        }
        Part::Results => {
            let namespace = segments.next().filter(|text| is_label(text))?;
            let second = segments.next()?;
            match second.strip_suffix(".json").filter(|text| is_uid(text)) {
                Some(uid) => {
                    let made = ObjectKey::result(namespace, uid).ok()?;
                    let uid = uid.to_owned();
                    (made, Owned::ByJob { uid })
                }
                None => record(namespace, second, &segments.collect::<Vec<_>>())?,
            }
        }
        Part::System if key.starts_with(PROBES) => (ObjectKey::probe_named(key)?, Owned::Probe),
        Part::System => {
            let uid = segments.next().filter(|text| is_uid(text))?.to_owned();
            let name: Vec<&str> = segments.collect();
            let made = ObjectKey::system(&uid, &name.join("/")).ok()?;
            (made, Owned::ByJob { uid })
        }
        Part::BatchUploads => {
            let namespace = segments.next().filter(|text| is_label(text))?;
            let folder = segments.next().filter(|text| *text == BATCH_UPLOADS)?;
            let upload = segments.next().filter(|text| is_uid(text))?;
            let name = segments.next().filter(|text| is_upload(text))?;
            let folder = format!("{folder}/{upload}");
            let made = ObjectKey::data(namespace, &format!("{folder}/{name}")).ok()?;
            let namespace = namespace.to_owned();
            (made, Owned::ByInput { namespace, folder })
        }
        Part::Reuse => {
            let namespace = segments.next().filter(|text| is_label(text))?.to_owned();
            let namespace_uid = segments.next().filter(|text| is_uid(text))?.to_owned();
            let made = ObjectKey::answers(&namespace, &namespace_uid, segments.next()?).ok()?;
            let owned = Owned::Answers {
                namespace,
                namespace_uid,
            };
            (made, owned)
        }
    };
    (made.as_str() == key).then_some((made, owned))
}

/// Whether the API gives an upload of a batch this name.
fn is_upload(name: &str) -> bool {
    let manifest = name.strip_prefix("manifest.");
    let extension = manifest.map(|extension| extension.strip_suffix(".gz").unwrap_or(extension));
    name == "pictures.tar" || matches!(extension, Some("jsonl" | "csv"))
}

/// The owner of `results/<namespace>/<namespace uid>/<job>/<expiry>-<job uid>.json`; `rest` is what
/// follows the namespace's uid.
fn record(namespace: &str, namespace_uid: &str, rest: &[&str]) -> Option<(ObjectKey, Owned)> {
    let [job, file] = rest else {
        return None;
    };
    let (seconds, job_uid) = file.strip_suffix(".json")?.split_once('-')?;
    let well_formed = [namespace_uid, job, job_uid].into_iter().all(is_uid);
    let seconds: u64 = seconds.parse().ok().filter(|_| well_formed)?;
    let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    let made = ObjectKey::record(namespace, namespace_uid, job, (seconds, job_uid)).ok()?;
    let owned = Owned::Record {
        namespace: namespace.to_owned(),
        namespace_uid: namespace_uid.to_owned(),
        job_uid: job_uid.to_owned(),
        expires,
    };
    Some((made, owned))
}

/// Whether `text` can be a namespace's name.
fn is_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
