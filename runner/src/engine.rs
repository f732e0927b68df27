//! One OS thread that owns the device and every model on it, fed by a bounded queue.

use crate::batcher::{Batcher, Group, Waiting};
use crate::image::PixelValues;
use crate::models::{Answer, Item, Loaded, Loader, Model, ModelError, ModelFront};
use fovea_protocol::{Parameters, Problem, Reason};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tch::{Device, TchError};
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
}

/// A model as requests see it.
pub struct Served {
    /// The pool's name for it.
    pub name: String,
    /// Its half for requests.
    pub front: Arc<ModelFront>,
    revision: OnceLock<String>,
}

impl Served {
    /// Which weights, once they are resident and one pass is done.
    pub fn revision(&self) -> Option<&str> {
        self.revision.get().map(String::as_str)
    }
}

/// How the engine is to run.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Where the models live.
    pub device: Device,
    /// Threads that compute.
    pub threads: usize,
    /// Most pictures in one pass.
    pub max_batch_size: usize,
    /// Most pictures that wait.
    pub queue_bound: usize,
}

/// One picture for the engine.
pub struct Work {
    /// Index of the model in [`Engine::models`].
    pub model: usize,
    /// The picture and what is asked.
    pub item: Item,
    /// To run alone.
    pub exclusive: bool,
    /// Set when nobody waits for it any more: it is not run, or written no further.
    pub cancel: CancellationToken,
    /// Told when the pass begins.
    pub started: oneshot::Sender<()>,
    /// The end.
    pub reply: oneshot::Sender<Result<Done, Problem>>,
    /// Kept until the work is over on the device, too: the request's slot.
    pub hold: Arc<dyn Send + Sync>,
}

/// What came of a picture.
#[derive(Debug)]
pub struct Done {
    /// The model's answer.
    pub answer: Answer,
    /// How long the pass took.
    pub took: Duration,
    /// Pictures in the pass.
    pub batch_size: usize,
}

impl Waiting for Work {
    fn group(&self) -> Group {
        Group {
            model: self.model,
            key: self.item.ask.batch_key(),
            exclusive: self.exclusive,
        }
    }

    fn dropped(&self) -> bool {
        self.cancel.is_cancelled() || self.reply.is_closed()
    }
}

/// The queue to the engine's thread, and what it keeps. The thread ends with the last clone.
#[derive(Clone)]
pub struct Engine {
    queue: mpsc::Sender<Work>,
    models: Arc<[Served]>,
}

impl Engine {
    /// Starts the thread, which begins to load. The receiver tells why the thread has ended:
    /// with an error where a model could not be loaded.
    pub fn start(
        planned: Vec<Planned>,
        config: EngineConfig,
    ) -> std::io::Result<(Self, oneshot::Receiver<Result<(), ModelError>>)> {
        let (queue, receiver) = mpsc::channel(config.queue_bound);
        let (models, loaders): (Vec<_>, Vec<_>) = planned
            .into_iter()
            .map(
                |Planned {
                     name,
                     front,
                     loader,
                 }| {
                    let revision = OnceLock::new();
                    (
                        Served {
                            name,
                            front,
                            revision,
                        },
                        loader,
                    )
                },
            )
            .unzip();
        let models: Arc<[Served]> = models.into();
        let (ended, why_ended) = oneshot::channel();
        let served = Arc::clone(&models);
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // Nobody listens any more where the process is ending anyway.
                let _ = ended.send(run(&served, loaders, config, receiver));
            })?;
        Ok((Self { queue, models }, why_ended))
    }

    /// The models, in the order in which [`Work::model`] counts them.
    pub fn models(&self) -> &[Served] {
        &self.models
    }

    /// Whether every model is resident and has made one pass.
    pub fn ready(&self) -> bool {
        !self.queue.is_closed() && self.models.iter().all(|model| model.revision().is_some())
    }

    /// Queues a picture.
    pub async fn submit(&self, work: Work) -> Result<(), Problem> {
        self.queue.send(work).await.map_err(|_| gone())
    }
}

/// The problem of a request whose engine has ended.
pub fn gone() -> Problem {
    Problem::new(
        Reason::NotReady,
        "the runner's engine has ended; it is about to restart",
    )
}

fn run(
    served: &[Served],
    loaders: Vec<Loader>,
    config: EngineConfig,
    receiver: mpsc::Receiver<Work>,
) -> Result<(), ModelError> {
    tch::set_num_threads(i32::try_from(config.threads).unwrap_or(i32::MAX));
    let mut models = Vec::with_capacity(served.len());
    for (model, loader) in served.iter().zip(loaders) {
        let begun = Instant::now();
        let Loaded {
            model: resident,
            revision,
        } = loader(config.device)?;
        warm_up(resident.as_ref(), &model.front).map_err(ModelError::WarmUp)?;
        models.push(resident);
        // Set once, here; from now on the model is ready.
        let revision = model.revision.get_or_init(|| revision);
        tracing::info!(model = model.name, revision, took = ?begun.elapsed(), "model ready");
    }
    let mut batcher = Batcher::new(receiver, config.max_batch_size);
    while let Some(batch) = batcher.next_batch() {
        if let Some(model) = batch.first().and_then(|work: &Work| models.get(work.model)) {
            run_batch(model.as_ref(), batch);
        }
    }
    Ok(())
}

/// One pass over a blank picture: libtorch sets up its threads and caches in the first one.
fn warm_up(model: &dyn Model, front: &ModelFront) -> Result<(), TchError> {
    let Ok(ask) = front.head.ask(&Parameters::default()) else {
        return Ok(());
    };
    let pixels = PixelValues::blank(front.preprocessor.warm_up_size());
    model.run(&[Item { pixels, ask }], &|_| false).map(|_| ())
}

fn run_batch(model: &dyn Model, batch: Vec<Work>) {
    let begun = Instant::now();
    let mut items = Vec::with_capacity(batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    for Work {
        item,
        cancel,
        started,
        reply,
        hold,
        model: _,
        exclusive: _,
    } in batch
    {
        // The request may have gone since.
        let _ = started.send(());
        items.push(item);
        waiting.push((cancel, reply, hold));
    }
    let batch_size = items.len();
    let dropped = |row: usize| waiting[row].0.is_cancelled();
    // libtorch's errors come as errors; this is for what does not.
    let outcome = catch_unwind(AssertUnwindSafe(|| model.run(&items, &dropped)));
    let took = begun.elapsed();
    let answers = match outcome {
        Ok(Ok(answers)) => answers.into_iter().map(Ok).collect(),
        Ok(Err(error)) => vec![Err(device_problem(&error)); batch_size],
        Err(_) => {
            let why = "the model panicked; the runner's log has more";
            vec![Err(Problem::new(Reason::InferenceFailed, why)); batch_size]
        }
    };
    for ((_, reply, hold), answer) in waiting.into_iter().zip(answers) {
        // The slot is free before the request can be told that it is over.
        drop(hold);
        let _ = reply.send(answer.map(|answer| Done {
            answer,
            took,
            batch_size,
        }));
    }
}

/// What libtorch's error means to the request.
fn device_problem(error: &TchError) -> Problem {
    let text = error.to_string();
    tracing::error!(error = text, "a pass failed");
    let out_of_memory = [
        "out of memory",
        "can't allocate memory",
        "not enough memory",
    ]
    .iter()
    .any(|words| text.contains(words));
    if out_of_memory {
        let why = "the device has not enough memory for this pass; lower --max-batch-size";
        return Problem::new(Reason::OutOfMemory, why);
    }
    // libtorch's own words follow on further lines with its stack.
    let first = text.lines().next().unwrap_or_default();
    Problem::new(
        Reason::InferenceFailed,
        format!("the model failed: {first}"),
    )
}
