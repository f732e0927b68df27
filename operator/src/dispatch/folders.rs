//! The uid of a job's namespace at the moment of presigning, and whether the namespace owns its folder below
//! `data/`: a namespace that was created again under an old name must not read its predecessor's pictures.

use crate::events::{Events, Notice};
use fovea_cluster::{NamespaceError, NamespaceFacts, UID_LIFETIME, read_namespace};
use fovea_crds::{Failure, InferenceJob};
use fovea_store::{FolderOwner, Store, StoreError};
use kube::{Client, Resource as _};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lifetime of the finding that a namespace owns its folder.
const OWNER_LIFETIME: Duration = Duration::from_mins(10);

/// Upper bound on a read of a namespace.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// Maximum number of cached namespaces; beyond it the cache is cleared, which costs two reads each.
const MAX_NAMESPACES: usize = 10_000;

/// Reason of the failure of a job whose namespace does not own its folder.
const NOT_OWNED: &str = "FolderNotOwned";

/// Reason of the Event about a folder that had no owner.
const ADOPTED: &str = "FolderAdopted";

/// Why a job may not read its folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    /// The namespace does not own the folder.
    #[error("{}", .0.message)]
    NotOwned(Failure),
    #[error("the owner of the job's folder is unknown: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// Caches of both. Attempts share it.
pub(super) struct Folders {
    client: Client,
    store: Store,
    events: Events,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    uid: String,
    /// When the read of the uid began.
    read: Instant,
    /// When the namespace with this uid was found to own its folder.
    owns: Option<Instant>,
}

impl Folders {
    pub(super) fn new(client: Client, store: Store, events: Events) -> Self {
        Self {
            client,
            store,
            events,
            known: Mutex::default(),
        }
    }

    /// The uid of the namespace `name`, read at most [`UID_LIFETIME`] ago.
    pub(super) async fn uid(&self, name: &str) -> Result<String, NamespaceError> {
        if let Some(known) = self.known().get(name)
            && known.read.elapsed() < UID_LIFETIME
        {
            return Ok(known.uid.clone());
        }
        let read = Instant::now();
        let NamespaceFacts {
            uid,
            is_being_deleted,
            ..
        } = read_namespace(&self.client, name, READ_LIMIT).await?;
        let mut known = self.known();
        if is_being_deleted {
            known.remove(name);
            return Ok(uid);
        }
        if known.len() >= MAX_NAMESPACES {
            known.clear();
        }
        let before = known.remove(name).filter(|before| before.uid == uid);
        let owns = before.and_then(|before| before.owns);
        let now = Known {
            uid: uid.clone(),
            read,
            owns,
        };
        known.insert(name.to_owned(), now);
        Ok(uid)
    }

    /// Checks that the namespace of `job` owns its folder; takes a folder without an owner for it.
    pub(super) async fn check(&self, job: &InferenceJob) -> Result<(), FolderError> {
        let name = job.metadata.namespace.as_deref().unwrap_or_default();
        let uid = self.uid(name).await?;
        let owns = self.known().get(name).and_then(|known| known.owns);
        if owns.is_some_and(|since| since.elapsed() < OWNER_LIFETIME) {
            return Ok(());
        }
        match self.store.claim_folder(name, &uid).await? {
            FolderOwner::Us => {}
            FolderOwner::UsFromNow => self.adopted(job, name, &uid),
            FolderOwner::Other(owner) => {
                return Err(FolderError::NotOwned(refusal(name, &uid, &owner)));
            }
        }
        if let Some(known) = self.known().get_mut(name).filter(|known| known.uid == uid) {
            known.owns = Some(Instant::now());
        }
        Ok(())
    }

    /// Removes a namespace that is gone.
    pub(super) fn forget(&self, name: &str) {
        self.known().remove(name);
    }

    /// The number of cached namespaces.
    pub(super) fn len(&self) -> usize {
        self.known().len()
    }

    fn adopted(&self, job: &InferenceJob, name: &str, uid: &str) {
        tracing::warn!(
            namespace = name,
            uid,
            "the folder below data/ had no owner and is this namespace's now"
        );
        let note = format!(
            "data/{name}/ had no owner: from now on only jobs of this namespace (uid {uid}) read it. Check that it holds no pictures of an earlier namespace of this name"
        );
        let notice = Notice {
            reason: ADOPTED.to_owned(),
            note,
        };
        self.events.warn(job.object_ref(&()), "Adopt", notice);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(name: &str, uid: &str, owner: &str) -> Failure {
    Failure {
        reason: NOT_OWNED.to_owned(),
        message: format!(
            "data/{name}/ belongs to another namespace (uid {owner:?}), by its object .fovea-namespace; the uid of this one is {uid}. Whoever may write to the bucket can hand it over: remove what this namespace must not read, then delete that object"
        ),
        retryable: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_both_namespaces_and_says_what_to_do() {
        let Failure {
            reason,
            message,
            retryable,
        } = refusal("team-a", "new", "old\n");
        assert_eq!((reason.as_str(), retryable), ("FolderNotOwned", false));
        for part in ["data/team-a/", "\"old\\n\"", "is new", "delete that object"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
