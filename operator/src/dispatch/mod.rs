//! The loop that owns the state of every job: queued, on a runner, or waiting for a time.
//!
//! Its inputs are watch events, runners' reports and ended tasks. Pure functions
//! ([`crate::job::decide`], [`queue`], [`crate::job::retry`]) decide what follows, and the loop acts on
//! it. Nothing in the loop waits for the network: tasks do, and report back.

mod act;
mod attempt;
mod batch;
mod book;
mod callbacks;
mod conversation;
mod costs;
mod delete;
mod edits;
pub(crate) mod fleet;
mod folders;
mod keep;
mod large;
mod links;
mod loads;
mod measure;
mod observe;
mod pools;
pub(crate) mod queue;
mod relist;
mod request;
mod reuse;
mod runners;
mod store_check;
mod target;
mod turns;
mod watches;
mod wire;

use crate::callback::Callbacks;
use crate::events::Events;
use crate::job::quota::{Quota, QuotaConfig};
use crate::job::retention::{Retention, RetentionConfig};
use crate::job::suspension::RestoreConfig;
use crate::job::write::StatusWriter;
use crate::kill_points;
use crate::leader::LeaderEpoch;
use crate::metrics::Metrics;
use crate::pool::PoolKey;
use crate::pool::load::Loads;
use crate::pool::published::PublishedPools;
use crate::pool::resolve::Directory;
use crate::reuse::Answers;
use crate::serve::Heartbeat;
use crate::store_probe::StoreFindings;
use attempt::{Abort, Done};
use batch::{BatchEvent, Batches};
use book::Book;
use callbacks::{CallEnded, Calls};
use edits::Edits;
use folders::Folders;
use fovea_store::Store;
use keep::Room;
use kube::Client;
use links::{Linking, Report};
use pools::Pools;
use relist::Relist;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store_check::StoreCheck;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use turns::Turn;
use watches::{WatchEvent, Watches};

/// Bound on reports and ended tasks waiting for the loop. Senders wait while it is full.
const INBOX: usize = 1024;

/// Bound on concurrent status writes outside of attempts.
const MAX_WRITES: usize = 64;

/// Bound on concurrent deletions of expired jobs.
const MAX_DELETIONS: usize = 32;

/// Bound on concurrent deletions of jobs that leave a record, each of which may wait for the object store.
const MAX_EARLY_DELETIONS: usize = 16;

const REPORT_EVERY: Duration = Duration::from_secs(2);

/// Everything that the loop needs.
pub(crate) struct Parts {
    /// For watches and writes; its requests are bounded in time.
    pub client: Client,
    pub store: Store,
    pub callbacks: Callbacks,
    pub retention: RetentionConfig,
    pub quota: QuotaConfig,
    pub restore: RestoreConfig,
    /// Time for which the store may refuse a large result before its job fails.
    pub max_result_refused: Duration,
    /// Time for which answers are reused.
    pub reuse_retention: Duration,
    /// This leader, as runners know it.
    pub epoch: LeaderEpoch,
    /// The pool of jobs that name none.
    pub default_pool: PoolKey,
    pub pool_namespace: String,
    /// The one namespace whose jobs count, or every one's.
    pub watch_namespace: Option<String>,
    /// Hosts that external endpoints may name.
    pub allowed_hosts: Vec<String>,
    /// What is known of the store.
    pub findings: StoreFindings,
    /// Set while the caches are filled and the loop runs.
    pub ready: Arc<AtomicBool>,
    /// Beats on each turn of the loop.
    pub heartbeat: Arc<Heartbeat>,
    pub events: Events,
    pub metrics: Arc<Metrics>,
    pub published: watch::Receiver<PublishedPools>,
    pub loads: watch::Sender<Loads>,
}

pub(crate) struct Dispatcher {
    parts: Parts,
    writer: StatusWriter,
    events: Events,
    folders: Arc<Folders>,
    answers: Arc<Answers>,
    directory: Directory,
    book: Book,
    pools: Pools,
    batches: Batches,
    /// Jobs that are on a runner, whose result is being stored, or whose status is being written.
    tasks: HashMap<String, Task>,
    writes: Arc<Semaphore>,
    /// The time of the latest `Accepted` write.
    accepted_written: Option<Instant>,
    done: mpsc::Sender<Done>,
    calls: Calls,
    /// Room for results that wait for the store.
    kept: Room,
    store_check: Arc<StoreCheck>,
    retention: Retention,
    quota: Quota,
    deletions: Arc<Semaphore>,
    early_deletions: Arc<Semaphore>,
    edits: Edits,
    /// Namespaces that were full when the loop last measured.
    full_namespaces: HashSet<String>,
    synced: Synced,
    relisted_pools: Relist<PoolKey>,
    relisted_namespaces: Relist<String>,
}

struct Task {
    namespace: String,
    /// Where it runs; `None` once it has left its runner, and for a mere write.
    on: Option<OnRunner>,
    /// Ends it; `None` for a mere write, and once it was ended.
    abort: Option<oneshot::Sender<Abort>>,
    began: Instant,
    /// Aborted with the loop: a replica without the lease must not write.
    _handle: AbortOnDropHandle<()>,
}

/// A job's place on a runner.
struct OnRunner {
    pool: PoolKey,
    endpoint: String,
    turn: Turn,
}

/// Which watches have listed everything once; nothing is dispatched before all have.
#[derive(Default)]
struct Synced {
    jobs: bool,
    pools: bool,
    namespaces: bool,
}

impl Dispatcher {
    /// Runs until `stop`; then it aborts every attempt under way, and the next leader runs those jobs.
    pub(crate) async fn run(parts: Parts, stop: CancellationToken) {
        let (reports_in, mut reports) = mpsc::channel::<Report>(INBOX);
        let (done_in, mut done) = mpsc::channel::<Done>(INBOX);
        let (calls_in, mut calls) = mpsc::channel::<CallEnded>(INBOX);
        let (batch_events_in, mut batch_events) = mpsc::unbounded_channel::<BatchEvent>();
        let client = parts.client.clone();
        let mut watches = Watches::start(
            &client,
            &parts.pool_namespace,
            parts.watch_namespace.as_deref(),
            parts.metrics.watches(),
        );
        let mut deletion =
            tokio::time::interval(Duration::from_secs(1) / parts.retention.deletions_per_second);
        deletion.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tick = tokio::time::interval(REPORT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

        let linking = Linking {
            client: client.clone(),
            store: parts.store.clone(),
            epoch: parts.epoch.clone(),
            allowed_hosts: parts.allowed_hosts.clone(),
            reports: reports_in,
        };
        let mut published = parts.published.clone();
        let events = parts.events.clone();
        let mut this = Self {
            folders: Arc::new(Folders::new(
                client.clone(),
                parts.store.clone(),
                events.clone(),
            )),
            answers: Arc::new(Answers::new(parts.store.clone(), parts.reuse_retention)),
            writer: StatusWriter::new(client, Arc::clone(&parts.metrics), events.clone()),
            events,
            directory: Directory {
                pools: BTreeMap::new(),
                namespaces: BTreeMap::new(),
                default_pool: parts.default_pool.clone(),
            },
            book: Book::default(),
            pools: Pools::new(linking),
            batches: Batches::new(batch_events_in),
            tasks: HashMap::new(),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
            accepted_written: None,
            done: done_in,
            calls: Calls::new(calls_in),
            kept: Room::default(),
            store_check: Arc::new(StoreCheck::new(parts.store.clone())),
            retention: Retention::new(parts.retention),
            quota: Quota::new(parts.quota),
            deletions: Arc::new(Semaphore::new(MAX_DELETIONS)),
            early_deletions: Arc::new(Semaphore::new(MAX_EARLY_DELETIONS)),
            edits: Edits::new(),
            full_namespaces: HashSet::new(),
            synced: Synced::default(),
            relisted_pools: Relist::default(),
            relisted_namespaces: Relist::default(),
            parts,
        };
        loop {
            this.parts.heartbeat.beat();
            kill_points::after(kill_points::LOOP_TURNS);
            tokio::select! {
                () = stop.cancelled() => break,
                event = watches.next() => match event {
                    WatchEvent::Job(event) => this.on_job(*event),
                    WatchEvent::JobsSetBack => this.book.set_back(),
                    WatchEvent::Pool(event) => this.on_pool(*event),
                    WatchEvent::Namespace(event) => this.on_namespace(*event),
                },
                Ok(()) = published.changed() => {
                    let pools = published.borrow_and_update().clone();
                    this.on_published(&pools);
                }
                Some(report) = reports.recv() => this.pools.report(report),
                Some(ended) = done.recv() => this.on_done(ended),
                Some(event) = batch_events.recv() => this.on_batch(event),
                Some(ended) = calls.recv() => this.on_call_ended(ended),
                uid = this.book.woken() => this.reconcile(&uid),
                _ = tick.tick() => {
                    this.measure();
                    this.publish_loads();
                }
                _ = deletion.tick(), if this.retention.next_cause(crate::time::now()).is_some() => this.delete_one(),
                () = this.edits.due() => this.observe_edit(),
            }
            if this.synced.all() {
                this.parts.ready.store(true, Ordering::Relaxed);
                this.reconcile_released();
                this.dispatch();
                this.grant_places();
                this.call();
                this.publish_first_job();
            }
        }
        this.parts.ready.store(false, Ordering::Relaxed);
        this.parts.heartbeat.rest();
    }
}

impl Synced {
    fn all(&self) -> bool {
        self.jobs && self.pools && self.namespaces
    }
}
