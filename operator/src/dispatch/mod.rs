//! The one loop that owns every job's place: in a queue, on a runner, or waiting for a time.
//!
//! Watches, runners' reports and ended tasks come in; each is looked at by a pure function
//! ([`crate::job::decide`], [`queue`], [`retry`]) and acted on. Nothing in the loop waits for a
//! network: what does is a task that reports back.

mod act;
mod attempt;
mod book;
mod callbacks;
pub(crate) mod fleet;
mod inputs;
mod links;
mod loads;
mod measure;
mod pools;
pub mod queue;
mod request;
pub mod retry;
mod runners;
mod target;
mod task;
mod watches;
mod wire;

use crate::callback::Callbacks;
use crate::events::Events;
use crate::job::retention::{Retention, RetentionConfig};
use crate::job::write::StatusWriter;
use crate::kill_points;
use crate::metrics::Metrics;
use crate::pool::PoolKey;
use crate::pool::load::Loads;
use crate::pool::published::PublishedPools;
use crate::pool::resolve::Directory;
use crate::serve::Heartbeat;
use book::Book;
use callbacks::{CallEnded, Calls};
use fovea_protocol::LeaderRequest;
use fovea_store::Store;
use kube::Client;
use links::{Linking, Report};
use pools::Pools;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use task::{Abort, Left};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use watches::{Seen, Watches};

/// Reports and ended tasks that may wait for the loop; who brings more waits.
const INBOX: usize = 1024;

/// Status writes and deletions that no attempt makes, at a time.
const MAX_WRITES: usize = 64;

/// Deletions of finished jobs under way at a time.
const MAX_DELETIONS: usize = 32;

/// Interval at which loads and gauges are updated.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// What the loop is made of.
pub struct Parts {
    /// For watches and writes; its requests are bounded in time.
    pub client: Client,
    /// For pictures and large results.
    pub store: Store,
    /// Tells of jobs' ends.
    pub callbacks: Callbacks,
    /// What is kept of finished jobs.
    pub retention: RetentionConfig,
    /// Who speaks.
    pub leader: LeaderRequest,
    /// Where jobs go that name no pool.
    pub default_pool: PoolKey,
    /// The namespace whose `RunnerPool`s count.
    pub pool_namespace: String,
    /// The one namespace whose jobs count, or every one's.
    pub watch_namespace: Option<String>,
    /// Hosts that external endpoints may name.
    pub allowed_hosts: Vec<String>,
    /// Set while the caches are filled and the loop runs.
    pub ready: Arc<AtomicBool>,
    /// Beats each time that the loop goes round.
    pub heartbeat: Arc<Heartbeat>,
    /// Publishes Kubernetes Events.
    pub events: Events,
    /// What happened, for who scrapes.
    pub metrics: Arc<Metrics>,
    /// From the pool controller.
    pub published: watch::Receiver<PublishedPools>,
    /// To the pool controller.
    pub loads: watch::Sender<Loads>,
}

/// The loop's state.
pub struct Dispatcher {
    parts: Parts,
    writer: StatusWriter,
    events: Events,
    directory: Directory,
    book: Book,
    pools: Pools,
    /// Jobs that a task has: on a runner, or with a write under way.
    tasks: HashMap<String, Task>,
    writes: Arc<Semaphore>,
    /// When a job was last told that it waits.
    announced: Option<Instant>,
    done: mpsc::Sender<Done>,
    /// Callbacks that are due or under way.
    calls: Calls,
    /// Finished jobs, in the order of their going.
    retention: Retention,
    deletions: Arc<Semaphore>,
    synced: Synced,
    /// While the pools are listed anew: those listed so far.
    relisted_pools: Option<BTreeSet<PoolKey>>,
}

/// A task that has a job.
struct Task {
    namespace: String,
    /// Where it runs; `None` for a mere write.
    on: Option<(PoolKey, String)>,
    abort: Option<oneshot::Sender<Abort>>,
    began: Instant,
    /// Ends with the loop: who does not lead any more writes nothing any more.
    _handle: AbortOnDropHandle<()>,
}

/// A task has ended.
struct Done {
    uid: String,
    left: Left,
}

/// Which watches have listed everything once; nothing is dispatched before all have.
#[derive(Default)]
struct Synced {
    jobs: bool,
    pools: bool,
    namespaces: bool,
}

impl Dispatcher {
    /// Runs until `stop`; then every attempt under way is broken off, to be run by the next leader.
    pub async fn run(parts: Parts, stop: CancellationToken) {
        let (reports_in, mut reports) = mpsc::channel::<Report>(INBOX);
        let (done_in, mut done) = mpsc::channel::<Done>(INBOX);
        let (calls_in, mut calls) = mpsc::channel::<CallEnded>(INBOX);
        let client = parts.client.clone();
        let mut watches = Watches::start(
            &client,
            &parts.pool_namespace,
            parts.watch_namespace.as_deref(),
        );
        let mut deletion =
            tokio::time::interval(Duration::from_secs(1) / parts.retention.deletions_per_second);
        deletion.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tick = tokio::time::interval(REPORT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

        let linking = Linking {
            client: client.clone(),
            store: parts.store.clone(),
            leader: parts.leader.clone(),
            allowed_hosts: parts.allowed_hosts.clone(),
            reports: reports_in,
        };
        let mut published = parts.published.clone();
        let events = parts.events.clone();
        let mut this = Self {
            writer: StatusWriter::new(client, Arc::clone(&parts.metrics), events.clone()),
            events,
            directory: Directory {
                pools: BTreeMap::new(),
                namespaces: BTreeMap::new(),
                default_pool: parts.default_pool.clone(),
            },
            book: Book::default(),
            pools: Pools::new(linking),
            tasks: HashMap::new(),
            writes: Arc::new(Semaphore::new(MAX_WRITES)),
            announced: None,
            done: done_in,
            calls: Calls::new(calls_in),
            retention: Retention::new(parts.retention),
            deletions: Arc::new(Semaphore::new(MAX_DELETIONS)),
            synced: Synced::default(),
            relisted_pools: None,
            parts,
        };
        loop {
            this.parts.heartbeat.beat();
            kill_points::after(kill_points::LOOP_TURNS);
            tokio::select! {
                () = stop.cancelled() => break,
                seen = watches.next() => match seen {
                    Seen::Job(event) => this.on_job(event),
                    Seen::Pool(event) => this.on_pool(event),
                    Seen::Namespace(event) => this.on_namespace(event),
                },
                Ok(()) = published.changed() => {
                    let pools = published.borrow_and_update().clone();
                    this.on_published(&pools);
                }
                Some(report) = reports.recv() => this.pools.report(report),
                Some(ended) = done.recv() => this.on_done(ended),
                Some(ended) = calls.recv() => this.on_call_ended(ended),
                uid = this.book.woken() => this.look(&uid),
                _ = tick.tick() => {
                    this.measure();
                    this.publish_loads();
                }
                _ = deletion.tick(), if this.retention.is_due() => this.delete_one(),
            }
            if this.synced.all() {
                this.parts.ready.store(true, Ordering::Relaxed);
                this.dispatch();
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
