//! Which listed objects no job needs. Pure: time is an argument, and lists are fed in.

use fovea_store::{Listed, ObjectKey, Owned, Sha256};
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// How a listed object was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It goes, unless a job is found that needs it.
    Candidate,
    /// Too young to be judged: the job that it was put for may not be there yet.
    Young,
    /// Not a key that Fovea makes: not ours to delete.
    Foreign,
}

/// Objects that go unless a job is found that needs them. It holds nothing of the jobs themselves,
/// so that its size is that of the chunk, however many jobs there are.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// By job uid: its result, plans and markers.
    by_job: HashMap<String, Vec<ObjectKey>>,
    /// By namespace and digest.
    pictures: HashMap<(String, Sha256), Picture>,
    len: usize,
}

/// A picture of one namespace's name: under several uids where a namespace was made again.
#[derive(Debug, Default)]
struct Picture {
    /// Some job of the namespace names it.
    named: bool,
    /// By the namespace's uid.
    objects: Vec<(String, ObjectKey)>,
}

impl Chunk {
    /// How many objects it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes an object in if it is ours and was last put at `limit` or before.
    pub(super) fn take(&mut self, listed: Listed, limit: SystemTime) -> Taken {
        let Some((key, owned)) = listed.object else {
            return Taken::Foreign;
        };
        if listed.modified > limit {
            return Taken::Young;
        }
        match owned {
            Owned::ByJob { uid } => self.by_job.entry(uid).or_default().push(key),
            Owned::ByNamespace {
                namespace,
                namespace_uid,
                sha256,
            } => {
                let picture = self.pictures.entry((namespace, sha256)).or_default();
                picture.objects.push((namespace_uid, key));
            }
        }
        self.len += 1;
        Taken::Candidate
    }

    /// There is a job; `sha256`: the picture that it names.
    pub(super) fn job(&mut self, namespace: &str, uid: &str, sha256: Option<Sha256>) {
        self.by_job.remove(uid);
        if let Some(sha256) = sha256
            && let Some(picture) = self.pictures.get_mut(&(namespace.to_owned(), sha256))
        {
            picture.named = true;
        }
    }

    /// The objects that none of the jobs given to [`Chunk::job`] needs. `namespaces`: the uid by the name of
    /// each that there is; a picture of a namespace that was made again belongs to nobody.
    pub(super) fn unneeded(self, namespaces: &HashMap<String, String>) -> Vec<ObjectKey> {
        let mut unneeded: Vec<ObjectKey> = self.by_job.into_values().flatten().collect();
        for ((namespace, _), Picture { named, objects }) in self.pictures {
            let live = namespaces.get(&namespace);
            let needed = |uid: &String| named && live == Some(uid);
            let rest = objects.into_iter().filter(|(uid, _)| !needed(uid));
            unneeded.extend(rest.map(|(_, key)| key));
        }
        unneeded
    }
}

/// What is older than this instant may be judged; none where the clock is before the grace's length.
pub(super) fn limit(now: SystemTime, grace: Duration) -> SystemTime {
    now.checked_sub(grace).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
