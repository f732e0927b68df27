//! The thread that owns the device: loads, warms up, and runs batch after batch.

use super::pass::{self, Fault, Halved, Outcome};
use super::warm_up::{self, WarmUp};
use super::watchdog::Watchdog;
use super::{Done, EngineConfig, EngineError, Order, OwnSettings, Queued, Residency, Served, Work};
use crate::batcher::{BatchLimits, Batcher};
use crate::inference::{Item, Model, ModelFront};
use crate::metrics::Metrics;
use crate::models::{Loaded, Loader, ModelError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A pass of shards' pictures that is not full waits for more, a step at a time, as long as each step brings
/// some: small passes would take the processor from those who decode.
const GATHER_STEP: Duration = Duration::from_millis(1);
const GATHER_STEPS: usize = 8;

/// The state of the thread, which alone touches it once it runs.
pub(super) struct DeviceThread {
    config: EngineConfig,
    metrics: Arc<Metrics>,
    watchdog: Watchdog,
    residents: Vec<Option<Resident>>,
}

/// A model on the device.
struct Resident {
    model: Box<dyn Model>,
    front: Arc<ModelFront>,
    limits: BatchLimits,
    /// Time of the warm-up pass over one picture.
    warm_pass: Duration,
}

impl DeviceThread {
    pub(super) fn new(config: EngineConfig, metrics: Arc<Metrics>, watchdog: Watchdog) -> Self {
        Self {
            config,
            metrics,
            watchdog,
            residents: Vec::new(),
        }
    }

    /// Loads all of `first`, or fails; then handles orders until the last [`Engine`](super::Engine)
    /// is dropped or the device is lost.
    pub(super) fn run(
        mut self,
        first: Vec<(Arc<Served>, Loader, OwnSettings)>,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> Result<(), EngineError> {
        tch::set_num_threads(i32::try_from(self.config.threads).unwrap_or(i32::MAX));
        let _no_grad = tch::no_grad_guard();
        for (served, loader, own) in first {
            self.load(&served, loader, own)
                .map_err(|source| EngineError::Model {
                    name: served.name.clone(),
                    source,
                })?;
        }
        let mut batcher = Batcher::default();
        loop {
            if batcher.is_empty() {
                match orders.blocking_recv() {
                    Some(order) => self.take(order, &mut batcher),
                    None => return Ok(()),
                }
            }
            self.take_all(&mut orders, &mut batcher);
            for _ in 0..GATHER_STEPS {
                if !batcher.should_gather(|model| self.limits(model)) {
                    break;
                }
                std::thread::sleep(GATHER_STEP);
                if self.take_all(&mut orders, &mut batcher) == 0 {
                    break;
                }
            }
            if let Some(batch) = batcher.next_batch(|model| self.limits(model)) {
                let work = |Queued { work, place }| {
                    drop(place);
                    work
                };
                self.run_batch(batch.into_iter().map(work).collect())?;
            }
        }
    }

    /// Takes the orders that have come; returns their number.
    fn take_all(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        batcher: &mut Batcher<Queued>,
    ) -> usize {
        let mut taken = 0;
        while let Ok(order) = orders.try_recv() {
            self.take(order, batcher);
            taken += 1;
        }
        taken
    }

    fn take(&mut self, order: Order, batcher: &mut Batcher<Queued>) {
        match order {
            Order::Run(queued) => batcher.push(*queued),
            Order::Load(served, loader, own, place) => {
                drop(place);
                // The error is in the model's residency.
                drop(self.load(&served, loader, own));
            }
        }
    }

    fn resident(&self, index: usize) -> Option<&Resident> {
        self.residents.get(index)?.as_ref()
    }

    fn limits(&self, index: usize) -> BatchLimits {
        let one = BatchLimits {
            pictures: 1,
            pixels: 0,
        };
        self.resident(index).map_or(one, |resident| resident.limits)
    }

    /// Loads and warms up a model, and sets its residency.
    fn load(
        &mut self,
        served: &Served,
        loader: Loader,
        own: OwnSettings,
    ) -> Result<(), ModelError> {
        let begun = Instant::now();
        if self.residents.len() <= served.index {
            self.residents.resize_with(served.index + 1, || None);
        }
        // First frees the model that it replaces.
        self.residents[served.index] = None;
        let EngineConfig {
            mut placement,
            max_batch_size,
            max_batch_pixels,
            load_deadline,
            ..
        } = self.config;
        placement.kind = own.kind.unwrap_or(placement.kind);
        let max_batch_size = own.max_batch_size.unwrap_or(max_batch_size);
        let what = format!("loading the model {}", served.name);
        let outcome = (self.watchdog).bounded(load_deadline, &what, || -> Result<_, ModelError> {
            let Loaded { model, revision } = loader(placement)?;
            let warm = warm_up::run(
                model.as_ref(),
                &served.front,
                max_batch_size,
                max_batch_pixels,
            )
            .map_err(ModelError::WarmUp)?;
            Ok((model, revision, warm))
        });
        match outcome {
            Ok((model, revision, WarmUp { pass, pictures })) => {
                tracing::info!(
                    model = served.name,
                    revision,
                    took = ?begun.elapsed(),
                    pass = ?pass,
                    max_batch_size = pictures,
                    "model ready"
                );
                self.residents[served.index] = Some(Resident {
                    model,
                    front: Arc::clone(&served.front),
                    limits: BatchLimits {
                        pictures,
                        pixels: max_batch_pixels,
                    },
                    warm_pass: pass,
                });
                served.set(Residency::Ready { revision });
                Ok(())
            }
            Err(error) => {
                tracing::error!(model = served.name, %error, "model not loaded");
                let why = error.to_string();
                served.set(Residency::Failed { why });
                Err(error)
            }
        }
    }

    /// Runs a batch and answers its requests; an error where the device is lost.
    fn run_batch(&mut self, batch: Vec<Work>) -> Result<(), EngineError> {
        let Some(served) = batch.first().map(|work| Arc::clone(&work.model)) else {
            return Ok(());
        };
        let Some(resident) = self.residents.get(served.index).and_then(Option::as_ref) else {
            for work in batch {
                let _ = work.reply.send(Err(super::gone()));
            }
            return Ok(());
        };
        let mut items = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        for work in batch {
            let Work {
                item,
                cancel,
                started,
                reply,
                hold,
                ticket,
                model: _,
                class: _,
                key: _,
                exclusive: _,
            } = work;
            drop(ticket);
            // An error means that the request was cancelled.
            let _ = started.send(());
            items.push(item);
            waiting.push((cancel, reply, hold));
        }
        let work: Vec<f64> = (items.iter())
            .map(|item| resident.front.relative_work(item))
            .collect();
        let whole: f64 = work.iter().sum();
        let begun = Instant::now();
        let dropped = |row: usize| waiting[row].0.is_cancelled();
        let Halved { outcomes, fitting } =
            pass::run_halving(&items, &dropped, &|items, dropped| {
                self.metrics.batch(&served.name, items.len());
                let what = format!("a pass of {} pictures by {}", items.len(), served.name);
                (self.watchdog).bounded(self.bound(resident, items), &what, || {
                    pass::run_once(resident.model.as_ref(), items, dropped)
                })
            });
        let took = begun.elapsed();

        let lost = outcomes.iter().find_map(|outcome| match &outcome.answer {
            Err(Fault::DeviceLost(why)) => Some(why.clone()),
            _ => None,
        });
        if let Some(why) = lost.clone() {
            // Before the replies: after a failed reply the model must not be ready.
            served.set(Residency::Failed { why });
        }
        let waiting = waiting.into_iter().zip(work);
        for (((_, reply, hold), work), Outcome { answer, batch_size }) in waiting.zip(outcomes) {
            // Frees the slot before the request can end.
            drop(hold);
            let done = answer.map(|answer| Done {
                answer,
                took,
                share: took.mul_f64(work / whole),
                batch_size,
            });
            let _ = reply.send(done.map_err(Into::into));
        }
        if let Some(pictures) = fitting {
            self.lower(&served, pictures);
        }
        lost.map_or(Ok(()), |why| Err(EngineError::DeviceLost(why)))
    }

    /// The watchdog's bound on a pass over `items`.
    fn bound(&self, resident: &Resident, items: &[Item]) -> Duration {
        let work: f64 = (items.iter())
            .map(|item| resident.front.relative_work(item))
            .sum();
        let usual = resident.warm_pass.as_secs_f64() * work;
        let bound = Duration::try_from_secs_f64(usual * self.config.watchdog_factor);
        (bound.unwrap_or(Duration::MAX)).saturating_add(self.config.watchdog_grace)
    }

    /// Lowers the batch size to what fits in memory.
    fn lower(&mut self, served: &Served, pictures: usize) {
        if let Some(Some(resident)) = self.residents.get_mut(served.index)
            && pictures < resident.limits.pictures
        {
            tracing::warn!(
                model = served.name,
                pictures,
                "out of memory: smaller batches from now on"
            );
            resident.limits.pictures = pictures;
        }
    }
}
