//! One OS thread that owns the device and every model on it, fed by a bounded queue.

mod pass;
mod thread;
mod warm_up;
mod watchdog;

pub use warm_up::MaxBatchSize;
pub use watchdog::OnExpiry;

use crate::batcher::{Group, Waiting};
use crate::inference::{Answer, BatchKey, Item, ModelFront};
use crate::metrics::{Metrics, QueueTicket};
use crate::models::{Loader, ModelError};
use crate::weights::Placement;
use fovea_protocol::{Problem, Reason};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tch::Kind;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A model that the engine is to keep, before it is loaded.
pub struct Planned {
    /// The pool's name for it.
    pub name: String,
    /// Its half for requests.
    pub front: Arc<ModelFront>,
    /// Its half on the device.
    pub loader: Loader,
    /// Where it is to be other than the engine's other models.
    pub own: OwnSettings,
}

/// What a model has of its own; the engine's where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnSettings {
    /// The type of its numbers.
    pub kind: Option<Kind>,
    /// Most pictures in one pass.
    pub max_batch_size: Option<MaxBatchSize>,
}

/// How far a model has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Residency {
    /// It waits for the device, or is being loaded.
    Loading,
    /// Resident, and the warm-up is done.
    Ready {
        /// `sha256:<digest of the weights>`, or the commit on the hub.
        revision: String,
    },
    /// It could not be loaded.
    Failed { why: String },
}

/// A model as requests see it.
pub struct Served {
    /// The pool's name for it.
    pub name: String,
    /// Its half for requests.
    pub front: Arc<ModelFront>,
    /// Its place on the engine's thread.
    index: usize,
    residency: RwLock<Residency>,
}

impl Served {
    fn new(name: String, front: Arc<ModelFront>, index: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            front,
            index,
            residency: RwLock::new(Residency::Loading),
        })
    }

    /// How far it has come.
    pub fn residency(&self) -> Residency {
        let residency = self.residency.read();
        residency.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which weights, once it is ready.
    pub fn revision(&self) -> Option<String> {
        match self.residency() {
            Residency::Ready { revision } => Some(revision),
            Residency::Loading | Residency::Failed { .. } => None,
        }
    }

    fn set(&self, residency: Residency) {
        *(self.residency.write()).unwrap_or_else(PoisonError::into_inner) = residency;
    }
}

/// How the engine is to run.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Where the models live, and as which numbers.
    pub placement: Placement,
    /// Threads that libtorch computes with, at least 1.
    pub threads: usize,
    /// Most pictures in one pass.
    pub max_batch_size: MaxBatchSize,
    /// Most pixels of input in one pass, all pictures together.
    pub max_batch_pixels: u64,
    /// Most pictures that wait.
    pub queue_bound: usize,
    /// A pass may take so many times what the warm-up's did, for each picture.
    pub watchdog_factor: f64,
    /// And so much beyond.
    pub watchdog_grace: Duration,
    /// Longest time for loading and warming up a model.
    pub load_deadline: Duration,
    /// What happens to a process whose pass takes longer.
    pub on_expiry: OnExpiry,
}

/// Why the engine's thread has ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A model that the runner was started with cannot be served.
    #[error("model {name}: {source}")]
    Model {
        /// The pool's name for it.
        name: String,
        source: ModelError,
    },
    /// The device is of no use to this process any more.
    #[error("the device failed, and only a new process can use it again: {0}")]
    DeviceLost(String),
}

/// One picture for the engine.
pub struct Work {
    /// One of [`Engine::models`], and ready.
    pub model: Arc<Served>,
    /// The picture and what is asked.
    pub item: Item,
    /// With which others it can share a pass.
    pub key: BatchKey,
    /// Must run in a pass of its own.
    pub exclusive: bool,
    /// Set when nobody waits for it any more: it is not run, or written no further.
    pub cancel: CancellationToken,
    /// Told when the pass begins.
    pub started: oneshot::Sender<()>,
    /// Receives the outcome, once.
    pub reply: oneshot::Sender<Result<Done, Problem>>,
    /// Kept until the work is over on the device, too: the request's slot.
    pub hold: Arc<dyn Send + Sync>,
    /// Counted as waiting until it is dropped.
    pub ticket: QueueTicket,
}

/// What came of a picture.
#[derive(Debug)]
pub struct Done {
    pub answer: Answer,
    /// How long the pass took.
    pub took: Duration,
    /// Pictures in the pass.
    pub batch_size: usize,
}

impl Waiting for Work {
    fn group(&self) -> Group {
        Group {
            model: self.model.index,
            key: self.key,
            exclusive: self.exclusive,
        }
    }

    fn pixels(&self) -> u64 {
        let [_, height, width] = self.item.pixels.shape();
        (height * width).unsigned_abs()
    }

    fn dropped(&self) -> bool {
        self.cancel.is_cancelled() || self.reply.is_closed()
    }
}

/// What the thread is told.
enum Order {
    Run(Box<Work>),
    Load(Arc<Served>, Loader, OwnSettings),
}

/// The queue to the engine's thread, and what it keeps. The thread ends with the last clone.
#[derive(Clone)]
pub struct Engine {
    queue: mpsc::Sender<Order>,
    models: Arc<RwLock<Vec<Arc<Served>>>>,
}

impl Engine {
    /// Starts the thread, which begins to load. The receiver tells why the thread has ended:
    /// with an error where a model could not be loaded, or the device is lost.
    pub fn start(
        planned: Vec<Planned>,
        config: EngineConfig,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, oneshot::Receiver<Result<(), EngineError>>)> {
        let (queue, receiver) = mpsc::channel(config.queue_bound);
        let (models, first): (Vec<_>, Vec<_>) = (planned.into_iter().enumerate())
            .map(|(index, planned)| {
                let served = Served::new(planned.name, planned.front, index);
                (Arc::clone(&served), (served, planned.loader, planned.own))
            })
            .unzip();
        let (ended, why_ended) = oneshot::channel();
        let watchdog = watchdog::Watchdog::start(config.on_expiry)?;
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                let thread = thread::DeviceThread::new(config, metrics, watchdog);
                // Nobody listens any more where the process is ending anyway.
                let _ = ended.send(thread.run(first, receiver));
            })?;
        let models = Arc::new(RwLock::new(models));
        Ok((Self { queue, models }, why_ended))
    }

    /// The models, in the order in which they came.
    pub fn models(&self) -> Vec<Arc<Served>> {
        let models = self.models.read();
        models.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Option<Arc<Served>> {
        self.models().into_iter().find(|model| model.name == name)
    }

    /// Whether its thread takes orders.
    pub fn alive(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Queues a picture; waits while the queue is full.
    pub async fn submit(&self, work: Work) -> Result<(), Problem> {
        let order = Order::Run(Box::new(work));
        self.queue.send(order).await.map_err(|_| gone())
    }

    /// Loads one more model, in its turn, and gives what requests will see of it. One of the same
    /// name is replaced, and its weights with it.
    pub async fn load(&self, planned: Planned) -> Result<Arc<Served>, Problem> {
        let Planned {
            name,
            front,
            loader,
            own,
        } = planned;
        let served = {
            let mut models = (self.models.write()).unwrap_or_else(PoisonError::into_inner);
            let place = models.iter().position(|model| model.name == name);
            let index = place.unwrap_or(models.len());
            let served = Served::new(name, front, index);
            match place {
                Some(place) => models[place] = Arc::clone(&served),
                None => models.push(Arc::clone(&served)),
            }
            served
        };
        let order = Order::Load(Arc::clone(&served), loader, own);
        self.queue.send(order).await.map_err(|_| gone())?;
        Ok(served)
    }
}

/// The problem of a request whose engine has ended.
pub fn gone() -> Problem {
    Problem::new(
        Reason::NotReady,
        "the runner's engine has ended; it is about to restart",
    )
}
