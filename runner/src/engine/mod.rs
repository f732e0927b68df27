//! One OS thread that owns the device and every model on it, fed by a bounded queue.

mod pass;
mod room;
mod thread;
mod warm_up;
mod watchdog;

pub use crate::batcher::Class;
pub use warm_up::MaxBatchSize;
pub use watchdog::OnExpiry;

use crate::batcher::{Group, Waiting};
use crate::inference::{Answer, BatchKey, Item, ModelFront};
use crate::metrics::{Metrics, QueueTicket};
use crate::models::{Loader, ModelError};
use crate::weights::Placement;
use fovea_protocol::{Problem, Reason};
use room::{Place, Room};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tch::Kind;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A model that the engine will load.
pub struct Planned {
    /// The pool's name for it.
    pub name: String,
    /// The half of the model that checks requests and formats results.
    pub front: Arc<ModelFront>,
    /// Loads the half on the device.
    pub loader: Loader,
    /// Settings that override the engine's.
    pub own: OwnSettings,
}

/// A model's own settings; `None` uses the engine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnSettings {
    pub kind: Option<Kind>,
    /// Upper bound on pictures in one pass.
    pub max_batch_size: Option<MaxBatchSize>,
}

/// The state of a model on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Residency {
    /// Waiting for the device, or being loaded.
    Loading,
    Ready {
        /// `sha256:<digest of the weights>`, or the commit on the hub.
        revision: String,
    },
    /// Loading failed, or the device was lost.
    Failed { why: String },
}

/// The view of a model that requests have.
pub struct Served {
    /// The pool's name for it.
    pub name: String,
    /// The half of the model that checks requests and formats results.
    pub front: Arc<ModelFront>,
    /// Type of the weights.
    pub kind: Kind,
    /// Index on the engine's thread.
    index: usize,
    residency: RwLock<Residency>,
}

impl Served {
    fn new(name: String, front: Arc<ModelFront>, kind: Kind, index: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            front,
            kind,
            index,
            residency: RwLock::new(Residency::Loading),
        })
    }

    pub fn residency(&self) -> Residency {
        let residency = self.residency.read();
        residency.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The revision of the weights, once the model is ready.
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

#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// The device, and the default type of the weights.
    pub placement: Placement,
    /// Threads that libtorch computes with, at least 1.
    pub threads: usize,
    /// Upper bound on pictures in one pass.
    pub max_batch_size: MaxBatchSize,
    /// Upper bound on input pixels in one pass, all pictures together.
    pub max_batch_pixels: u64,
    /// Upper bound on waiting pictures of single jobs. Of each shard, as many wait as fit into
    /// `max_batch_pixels`, at most 512.
    pub queue_bound: usize,
    /// Bound on a pass, as a factor of the warm-up's time per picture.
    pub watchdog_factor: f64,
    /// Time added to that bound, so that short passes are not cut off.
    pub watchdog_grace: Duration,
    /// Bound on loading and warming up a model.
    pub load_deadline: Duration,
    /// Called when a bound is exceeded; ends the process.
    pub on_expiry: OnExpiry,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A model that the runner was started with cannot be loaded.
    #[error("model {name}: {source}")]
    Model {
        /// The pool's name for it.
        name: String,
        source: ModelError,
    },
    /// The device is unusable for this process.
    #[error("the device failed; only a new process can use it again: {0}")]
    DeviceLost(String),
}

pub struct Work {
    /// One of [`Engine::models`]; must be ready.
    pub model: Arc<Served>,
    /// Decides whose turn it is: that of single jobs, or of which shard.
    pub class: Class,
    pub item: Item,
    /// Pictures with equal keys can share a pass.
    pub key: BatchKey,
    /// Must run in a pass of its own.
    pub exclusive: bool,
    /// Cancelled when the request ends early: the picture is not run, or generation stops.
    pub cancel: CancellationToken,
    /// Receives a message when the pass begins.
    pub started: oneshot::Sender<()>,
    pub reply: oneshot::Sender<Result<Done, Problem>>,
    /// The request's slot, held until the device has finished with the picture.
    pub hold: Arc<dyn Send + Sync>,
    /// Counts the picture as waiting; dropped when its pass begins.
    pub ticket: QueueTicket,
}

impl Work {
    /// Pixels of the model's input.
    fn pixels(&self) -> u64 {
        let [_, height, width] = self.item.pixels.shape();
        (height * width).unsigned_abs()
    }
}

#[derive(Debug)]
pub struct Done {
    pub answer: Answer,
    /// Duration of the pass.
    pub took: Duration,
    /// The picture's share of it, by its work.
    pub share: Duration,
    pub batch_size: usize,
}

/// A picture in the queue.
struct Queued {
    work: Work,
    /// Given back when the pass begins.
    place: Place,
}

impl Waiting for Queued {
    fn class(&self) -> Class {
        self.work.class
    }

    fn group(&self) -> Group {
        Group {
            model: self.work.model.index,
            key: self.work.key,
            exclusive: self.work.exclusive,
        }
    }

    fn pixels(&self) -> u64 {
        self.work.pixels()
    }

    fn dropped(&self) -> bool {
        self.work.cancel.is_cancelled() || self.work.reply.is_closed()
    }
}

enum Order {
    Run(Box<Queued>),
    /// The place bounds how many wait.
    Load(Arc<Served>, Loader, OwnSettings, Place),
}

/// A handle to the engine's thread and its models. The thread ends with the last handle.
#[derive(Clone)]
pub struct Engine {
    /// Bounded by `room`.
    queue: mpsc::UnboundedSender<Order>,
    room: Arc<Room>,
    models: Arc<RwLock<Vec<Arc<Served>>>>,
    /// The default type of the weights.
    kind: Kind,
}

impl Engine {
    /// Starts the thread, which begins to load the models. The receiver resolves when the thread
    /// ends: with an error if a model could not be loaded or the device is lost.
    pub fn start(
        planned: Vec<Planned>,
        config: EngineConfig,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, oneshot::Receiver<Result<(), EngineError>>)> {
        let (queue, receiver) = mpsc::unbounded_channel();
        let room = Arc::new(Room::new(config.queue_bound, config.max_batch_pixels));
        let kind = config.placement.kind;
        let (models, first): (Vec<_>, Vec<_>) = (planned.into_iter().enumerate())
            .map(|(index, planned)| {
                let kind = planned.own.kind.unwrap_or(kind);
                let served = Served::new(planned.name, planned.front, kind, index);
                (Arc::clone(&served), (served, planned.loader, planned.own))
            })
            .unzip();
        let (ended, why_ended) = oneshot::channel();
        let watchdog = watchdog::Watchdog::start(config.on_expiry)?;
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                let thread = thread::DeviceThread::new(config, metrics, watchdog);
                // An error means that the process is ending anyway.
                let _ = ended.send(thread.run(first, receiver));
            })?;
        let models = Arc::new(RwLock::new(models));
        let engine = Self {
            queue,
            room,
            models,
            kind,
        };
        Ok((engine, why_ended))
    }

    /// The models, in the order in which they were added.
    pub fn models(&self) -> Vec<Arc<Served>> {
        let models = self.models.read();
        models.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn model(&self, name: &str) -> Option<Arc<Served>> {
        self.models().into_iter().find(|model| model.name == name)
    }

    /// Whether the thread still runs.
    pub fn alive(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Queues a picture; waits while the queue has no room for its class.
    pub async fn submit(&self, work: Work) -> Result<(), Problem> {
        let place = self.room.enter(work.class, work.pixels()).await;
        let order = Order::Run(Box::new(Queued { work, place }));
        self.queue.send(order).map_err(|_| gone())
    }

    /// Queues one more model to be loaded, and returns its view for requests. It replaces a model
    /// of the same name, whose weights are freed first.
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
            let kind = own.kind.unwrap_or(self.kind);
            let served = Served::new(name, front, kind, index);
            match place {
                Some(place) => models[place] = Arc::clone(&served),
                None => models.push(Arc::clone(&served)),
            }
            served
        };
        let place = self.room.enter(Class::Single, 0).await;
        let order = Order::Load(Arc::clone(&served), loader, own, place);
        self.queue.send(order).map_err(|_| gone())?;
        Ok(served)
    }
}

/// The problem of a request once the engine has ended.
pub fn gone() -> Problem {
    Problem::new(
        Reason::NotReady,
        "the runner's engine has ended; the runner is about to restart",
    )
}
