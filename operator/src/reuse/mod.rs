//! Answers that were given before in a namespace, for jobs with `spec.reuse`.
//!
//! They are objects in the bucket below `reuse/<namespace>/<namespace uid>/`, which nothing rewrites: one for
//! each answer of a single job, named after its question, and one for all new answers of a batch's part. Which
//! question is answered where is in an [`index`] in memory, read from the bucket when the namespace first asks;
//! so a question without an answer costs no request. Answers themselves are read from the bucket each
//! time: what is deleted there is not given again.

mod index;
mod scan;

use crate::time::system_now;
use fovea_protocol::{Answer, answer_line, answer_of};
use fovea_store::{ObjectKey, Sha256, Store, StoreError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use index::{Index, Place, Range};
use scan::Scan;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Bound on the answers in memory, of all namespaces together: 24 to 60 bytes each.
const MAX_ANSWERS: usize = 1_000_000;

/// Bound on the answers of one namespace in memory, so that a few large ones do not put one another out.
const MAX_ANSWERS_OF_NAMESPACE: usize = MAX_ANSWERS / 4;

/// Bound on the namespaces in memory.
const MAX_NAMESPACES: usize = 1000;

/// Bound on a search. It goes on by itself when it takes longer, as the first one of a namespace may.
const FIND_LIMIT: Duration = Duration::from_secs(10);

/// Bound on finding out whether a namespace has any answer, which a job waits for before it runs.
const HAS_ANY_LIMIT: Duration = Duration::from_secs(1);

/// Bound on the write of one answer.
const KEEP_LIMIT: Duration = Duration::from_secs(5);

/// Bound on the answers that are being written. Further ones are not kept.
const MAX_KEPT_AT_ONCE: usize = 64;

/// Time after a failed list of the bucket until the next one.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Concurrent reads.
const READS: usize = 8;

/// A namespace and its uid: a namespace created again under the same name has answers of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub namespace: String,
    pub uid: String,
}

/// What is known of all namespaces. Attempts share it.
pub(crate) struct Answers {
    store: Store,
    retention: Duration,
    namespaces: Mutex<HashMap<Owner, Arc<Namespace>>>,
    keeping: Arc<Semaphore>,
}

/// What is known of a namespace.
struct Namespace {
    store: Store,
    owner: Owner,
    /// Answers in the index.
    len: AtomicUsize,
    used: Mutex<Instant>,
    known: tokio::sync::Mutex<Known>,
    /// Whether the bucket has been listed.
    is_listed: AtomicBool,
    /// Objects with the answers of parts, to be read before the next search.
    unread: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Known {
    index: Index,
    failed: Option<Instant>,
}

impl Answers {
    /// `retention`: answers that are older are not given.
    pub(crate) fn new(store: Store, retention: Duration) -> Self {
        Self {
            store,
            retention,
            namespaces: Mutex::default(),
            keeping: Arc::new(Semaphore::new(MAX_KEPT_AT_ONCE)),
        }
    }

    /// For each question, the answer that it has had in this namespace, as far as that is found in time.
    pub(crate) async fn find(&self, owner: &Owner, questions: Vec<Sha256>) -> Vec<Option<Answer>> {
        self.find_within(FIND_LIMIT, owner, questions).await
    }

    async fn find_within(
        &self,
        limit: Duration,
        owner: &Owner,
        questions: Vec<Sha256>,
    ) -> Vec<Option<Answer>> {
        let none = vec![None; questions.len()];
        let namespace = self.namespace(owner);
        let since = system_now().checked_sub(self.retention);
        let since = since.unwrap_or(SystemTime::UNIX_EPOCH);
        // A task of its own, so that a long first list is not begun anew with each search.
        let finding = tokio::spawn(async move { namespace.find(&questions, since).await });
        match timeout(limit, finding).await {
            Ok(found) => found.unwrap_or(none),
            Err(_) => none,
        }
    }

    /// Whether the namespace may have any answer, as far as that is known in time.
    pub(crate) async fn has_any(&self, owner: &Owner) -> bool {
        self.find_within(HAS_ANY_LIMIT, owner, Vec::new()).await;
        let namespace = self.namespace(owner);
        namespace.len.load(Ordering::Relaxed) > 0
    }

    /// Keeps the answer of a single job, which does not wait for it.
    pub(crate) fn keep_soon(self: &Arc<Self>, owner: Owner, question: String, answer: Answer) {
        let Ok(permit) = Arc::clone(&self.keeping).try_acquire_owned() else {
            tracing::warn!("an answer is not kept for reuse: too many are being written");
            return;
        };
        let answers = Arc::clone(self);
        tokio::spawn(async move {
            answers.keep(&owner, &question, &answer).await;
            drop(permit);
        });
    }

    /// Keeps the answer of a single job. That it cannot is logged only: the job does not fail for it.
    async fn keep(&self, owner: &Owner, question: &str, answer: &Answer) {
        let Ok(parsed) = question.parse::<Sha256>() else {
            return;
        };
        let Some(line) = answer_line(question, answer) else {
            return;
        };
        let Ok(key) = ObjectKey::answer(&owner.namespace, &owner.uid, &parsed) else {
            return;
        };
        let put = self.store.put(&key, line.into(), "text/plain");
        match timeout(KEEP_LIMIT, put).await {
            Ok(Ok(())) => self.written(owner, parsed.to_string()),
            Ok(Err(error)) => tracing::warn!(%error, "an answer is not kept for reuse"),
            Err(_) => tracing::warn!("an answer is not kept for reuse: the object store is slow"),
        }
    }

    /// There is a new object with answers, of this name.
    pub(crate) fn written(&self, owner: &Owner, name: String) {
        lock(&self.namespace(owner).unread).push(name);
    }

    /// The namespace's own; the least recently used ones make room for it.
    fn namespace(&self, owner: &Owner) -> Arc<Namespace> {
        let mut namespaces = lock(&self.namespaces);
        let namespace = namespaces.entry(owner.clone()).or_insert_with(|| {
            Arc::new(Namespace {
                store: self.store.clone(),
                owner: owner.clone(),
                len: AtomicUsize::new(0),
                used: Mutex::new(Instant::now()),
                known: tokio::sync::Mutex::default(),
                is_listed: AtomicBool::new(false),
                unread: Mutex::default(),
            })
        });
        let namespace = Arc::clone(namespace);
        *lock(&namespace.used) = Instant::now();
        let answers = |all: &HashMap<Owner, Arc<Namespace>>| -> usize {
            all.values().map(|it| it.len.load(Ordering::Relaxed)).sum()
        };
        while namespaces.len() > 1
            && (namespaces.len() > MAX_NAMESPACES || answers(&namespaces) > MAX_ANSWERS)
        {
            let others = namespaces.iter().filter(|(other, _)| *other != owner);
            let oldest = others.min_by_key(|(_, other)| *lock(&other.used));
            let Some(oldest) = oldest.map(|(other, _)| other.clone()) else {
                break;
            };
            namespaces.remove(&oldest);
        }
        namespace
    }
}

impl Namespace {
    async fn find(&self, questions: &[Sha256], since: SystemTime) -> Vec<Option<Answer>> {
        let mut answers = vec![None; questions.len()];
        let mut objects: BTreeMap<String, Vec<(usize, Place)>> = BTreeMap::new();
        {
            let mut known = if self.is_listed.load(Ordering::Acquire) {
                self.known.lock().await
            } else if let Ok(known) = self.known.try_lock() {
                known
            } else {
                // Another search lists the bucket, which may take long.
                return answers;
            };
            self.read(&mut known).await;
            for (at, question) in questions.iter().enumerate() {
                if let Some((name, place)) = known.index.find(question, since) {
                    objects.entry(name).or_default().push((at, place));
                }
            }
        }
        let ranges = objects.into_iter().flat_map(|(name, places)| {
            let ranges = index::ranges(places).into_iter();
            ranges.map(move |range| (name.clone(), range))
        });
        let reads = stream::iter(ranges).map(|(name, range)| async move {
            let bytes = match self.key(&name) {
                Ok(key) => {
                    let count = range.to - range.from;
                    self.store.range(&key, range.from, count).await
                }
                Err(error) => Err(error),
            };
            (name, range, bytes)
        });
        let mut reads = reads.buffer_unordered(READS);
        while let Some((name, Range { from, places, .. }, bytes)) = reads.next().await {
            match bytes {
                Ok(bytes) => {
                    for (at, place) in places {
                        let line = place.of(&bytes, from);
                        let question = questions[at].to_string();
                        answers[at] = line.and_then(|line| answer_of(&question, line));
                    }
                }
                Err(StoreError::NotFound { .. }) => self.known.lock().await.index.forget(&name),
                Err(error) => tracing::warn!(%error, name, "answers for reuse are not read"),
            }
        }
        answers
    }

    fn key(&self, name: &str) -> Result<ObjectKey, StoreError> {
        ObjectKey::answers(&self.owner.namespace, &self.owner.uid, name)
            .map_err(|error| StoreError::Config(error.to_string()))
    }

    /// Reads what is new: at first, everything that is in the bucket.
    async fn read(&self, known: &mut Known) {
        let failed_lately = known.failed.is_some_and(|at| at.elapsed() < AGAIN_AFTER);
        if !self.is_listed.load(Ordering::Acquire) && !failed_lately {
            match self.list(&mut known.index).await {
                Ok(()) => {
                    self.is_listed.store(true, Ordering::Release);
                    known.failed = None;
                }
                Err(error) => {
                    tracing::warn!(%error, namespace = self.owner.namespace, "answers for reuse are not listed");
                    (known.index, known.failed) = (Index::default(), Some(Instant::now()));
                }
            }
        }
        let now = system_now();
        let unread = std::mem::take(&mut *lock(&self.unread));
        let unread = unread.into_iter().map(|name| (name, now)).collect();
        if let Err(error) = self.add(&mut known.index, unread).await {
            tracing::warn!(%error, "new answers for reuse are not read");
        }
        self.len.store(known.index.len(), Ordering::Relaxed);
    }

    async fn list(&self, index: &mut Index) -> Result<(), StoreError> {
        let Owner { namespace, uid } = &self.owner;
        let mut next = None;
        loop {
            let page = self.store.list_answers(namespace, uid, next).await?;
            self.add(index, page.objects).await?;
            match page.next {
                Some(token) => next = Some(token),
                None => return Ok(()),
            }
        }
    }

    /// Adds objects by their names and the times when they were written. Those of single jobs are not read.
    async fn add(
        &self,
        index: &mut Index,
        objects: Vec<(String, SystemTime)>,
    ) -> Result<(), StoreError> {
        let mut parts = Vec::new();
        for (name, written) in objects {
            match name.parse() {
                Ok(question) => index.add_single(&question, written),
                Err(_) => parts.push((name, written)),
            }
        }
        let reads = stream::iter(parts).map(|(name, written)| async move {
            let lines = self.lines(&name).await?;
            Ok::<_, StoreError>((name, written, lines))
        });
        let mut reads = reads.buffer_unordered(READS);
        while let Some((name, written, lines)) = reads.try_next().await? {
            index.add_part(&name, written, lines);
        }
        index.make_room(MAX_ANSWERS_OF_NAMESPACE);
        Ok(())
    }

    /// The questions that a part's object answers, and where. None if it is gone.
    async fn lines(&self, name: &str) -> Result<Vec<(Sha256, Place)>, StoreError> {
        let mut reader = match self.store.open(&self.key(name)?).await {
            Ok(reader) => reader,
            Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut scan = Scan::default();
        while let Some(piece) = reader.next().await {
            scan.take(&piece?);
        }
        Ok(scan.lines)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
