//! Finds the listed objects that no job needs. Pure: time and lists are arguments.

use fovea_store::{BATCH_UPLOADS, Listed, ObjectKey, Owned, Part, Sha256};
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is deleted unless a job or a record needs it.
    Candidate,
    /// A record that has not expired.
    Needed,
    /// It is younger than the grace: its job may not exist yet.
    Young,
    /// Its key is not one of Fovea's: it is never deleted.
    Foreign,
}

/// Candidates for deletion. It stores no jobs, so that its size does not depend on their number.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Results, by the job's uid.
    by_job: HashMap<String, Vec<ObjectKey>>,
    /// Uploads, by namespace and digest.
    pictures: HashMap<(String, Sha256), Picture>,
    /// Uploads of batches, by namespace and folder.
    batches: HashMap<String, HashMap<String, Upload>>,
    records: Vec<Record>,
    /// What probes of the store have left.
    probes: Vec<ObjectKey>,
    /// Answers for reuse that were last put then or before have expired; `None` keeps them all.
    answers_limit: Option<SystemTime>,
    len: usize,
}

/// The copies of one upload in a namespace: one per uid if the namespace was recreated.
#[derive(Debug, Default)]
struct Picture {
    /// Whether a job of the namespace refers to it.
    named: bool,
    /// The namespace's uid and the key of each copy.
    objects: Vec<(String, ObjectKey)>,
}

/// What was uploaded with a batch.
#[derive(Debug, Default)]
struct Upload {
    /// Whether the input of a job of the namespace names it.
    named: bool,
    keys: Vec<ObjectKey>,
}

/// What a job's input names in the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Digest of its upload.
    pub sha256: Option<Sha256>,
    /// Path below `data/<namespace>/` of an object or a prefix.
    pub path: Option<String>,
}

/// The record of a job that was deleted early, or answers for reuse. It is no longer needed once it has
/// expired or its namespace is gone.
#[derive(Debug)]
struct Record {
    namespace: String,
    namespace_uid: String,
    expired: bool,
    key: ObjectKey,
}

impl Record {
    fn is_needed(&self, namespaces: &HashMap<String, String>) -> bool {
        !self.expired && namespaces.get(&self.namespace) == Some(&self.namespace_uid)
    }
}

impl Chunk {
    /// Answers for reuse have expired if they were last put at `answers_limit` or before.
    pub(super) fn new(answers_limit: SystemTime) -> Self {
        Self {
            answers_limit: Some(answers_limit),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an object if its key is one of Fovea's and it was last put at `limit` or before. A record, or an
    /// object with answers, is added if it had expired by then, or if `namespaces`, which may be out of date, lacks its
    /// namespace.
    pub(super) fn take(
        &mut self,
        listed: Listed,
        limit: SystemTime,
        namespaces: &HashMap<String, String>,
    ) -> Taken {
        let Some((key, owned)) = listed.object else {
            return Taken::Foreign;
        };
        if listed.modified > limit {
            return Taken::Young;
        }
        match owned {
            Owned::Probe => self.probes.push(key),
            Owned::ByJob { uid } => self.by_job.entry(uid).or_default().push(key),
            Owned::ByNamespace {
                namespace,
                namespace_uid,
                sha256,
            } => {
                let picture = self.pictures.entry((namespace, sha256)).or_default();
                picture.objects.push((namespace_uid, key));
            }
            Owned::ByInput { namespace, folder } => {
                let folders = self.batches.entry(namespace).or_default();
                folders.entry(folder).or_default().keys.push(key);
            }
            Owned::Record {
                namespace,
                namespace_uid,
                job_uid: _,
                expires,
            } => {
                let record = Record {
                    namespace,
                    namespace_uid,
                    expired: expires <= limit,
                    key,
                };
                if record.is_needed(namespaces) {
                    return Taken::Needed;
                }
                self.records.push(record);
            }
            Owned::Answers {
                namespace,
                namespace_uid,
            } => {
                let record = Record {
                    namespace,
                    namespace_uid,
                    expired: (self.answers_limit).is_some_and(|limit| listed.modified <= limit),
                    key,
                };
                if record.is_needed(namespaces) {
                    return Taken::Needed;
                }
                self.records.push(record);
            }
        }
        self.len += 1;
        Taken::Candidate
    }

    /// Keeps the objects of an existing job, and those that its input names.
    pub(super) fn job(&mut self, namespace: &str, uid: &str, named: Named) {
        let Named { sha256, path } = named;
        self.by_job.remove(uid);
        if let Some(sha256) = sha256
            && let Some(picture) = self.pictures.get_mut(&(namespace.to_owned(), sha256))
        {
            picture.named = true;
        }
        if let Some(path) = path
            && let Some(folders) = self.batches.get_mut(namespace)
        {
            // An upload's folder has two segments.
            let mut segments = path.split('/');
            match (segments.next(), segments.next()) {
                (Some(BATCH_UPLOADS), None) => {
                    for upload in folders.values_mut() {
                        upload.named = true;
                    }
                }
                (Some(BATCH_UPLOADS), Some(upload)) => {
                    let folder = format!("{BATCH_UPLOADS}/{upload}");
                    if let Some(upload) = folders.get_mut(&folder) {
                        upload.named = true;
                    }
                }
                _ => {}
            }
        }
    }

    /// Jobs of which it holds objects below `system/` that no job passed to [`Chunk::job`] needs.
    pub(super) fn batches(&self) -> Vec<String> {
        let of_batches = self
            .by_job
            .iter()
            .filter(|(_, keys)| keys.iter().any(is_system));
        of_batches.map(|(uid, _)| uid.clone()).collect()
    }

    /// Keeps the objects below `system/` of a job that may exist where jobs are not listed.
    pub(super) fn batch_of_others(&mut self, uid: &str) {
        if let Some(keys) = self.by_job.get_mut(uid) {
            keys.retain(|key| !is_system(key));
        }
    }

    /// Whether it holds results that no job passed to [`Chunk::job`] needs.
    pub(super) fn has_results(&self) -> bool {
        !self.by_job.is_empty()
    }

    /// Keeps the result of a job that was deleted early, for its record.
    pub(super) fn record(&mut self, listed: Listed, limit: SystemTime) {
        if let Some((
            _,
            Owned::Record {
                job_uid, expires, ..
            },
        )) = listed.object
            && expires > limit
        {
            self.by_job.remove(&job_uid);
        }
    }

    /// The objects that neither a job passed to [`Chunk::job`] nor a record passed to
    /// [`Chunk::record`] needs. `namespaces` holds the uid of each existing namespace by name; nothing
    /// needs an upload to a former namespace of the same name, or a record of a job in it.
    pub(super) fn unneeded(self, namespaces: &HashMap<String, String>) -> Vec<ObjectKey> {
        let mut unneeded: Vec<ObjectKey> = self.by_job.into_values().flatten().collect();
        unneeded.extend(self.probes);
        for ((namespace, _), Picture { named, objects }) in self.pictures {
            let live = namespaces.get(&namespace);
            let needed = |uid: &String| named && live == Some(uid);
            let rest = objects.into_iter().filter(|(uid, _)| !needed(uid));
            unneeded.extend(rest.map(|(_, key)| key));
        }
        let uploads = self.batches.into_values().flat_map(HashMap::into_values);
        let rest = uploads.filter(|upload| !upload.named);
        unneeded.extend(rest.flat_map(|upload| upload.keys));
        let rest = self.records.into_iter();
        let rest = rest.filter(|record| !record.is_needed(namespaces));
        unneeded.extend(rest.map(|record| record.key));
        unneeded
    }
}

fn is_system(key: &ObjectKey) -> bool {
    key.as_str().starts_with(Part::System.prefix())
}

/// The uid of the batch whose namespace this object names: without it nobody knows whose the batch's other
/// objects are.
pub(super) fn batch_named_by(key: &ObjectKey) -> Option<&str> {
    let uid = key.as_str().strip_prefix(Part::System.prefix())?;
    let (uid, _) = uid.split_once('/')?;
    let names = ObjectKey::batch_namespace(uid).is_ok_and(|name| name == *key);
    names.then_some(uid)
}

/// Latest time of the last put at which an object may be deleted; the Unix epoch if `now` is less than
/// `grace` after it.
pub(super) fn limit(now: SystemTime, grace: Duration) -> SystemTime {
    now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
