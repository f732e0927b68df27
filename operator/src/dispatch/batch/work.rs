//! What a batch under way has done, and what it does next. Pure but for the clock.

use super::shard::Outcome;
use super::{BatchEvent, Left, Place};
use crate::batch::plan::{Plan, PlanOf};
use crate::batch::progress::{Ended, Progress, Range, Shard, Stopped};
use crate::batch::rate::Rate;
use crate::dispatch::wire;
use crate::job::retry;
use crate::job::status::batch::Numbers;
use crate::metrics::Metrics;
use crate::time::later;
use fovea_crds::{Counts, Failure, InferenceJobSpec, OutputFormat, ServedModel};
use fovea_protocol::{PartFormat, Problem, ShardOf, ShardRequest};
use fovea_store::{PartMetadata, PartName, StoreError};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// An attempt that is under way.
struct UnderWay {
    /// Ends it early.
    finish: CancellationToken,
    endpoint: String,
    is_suspect: bool,
}

/// An attempt to be made.
pub(super) struct Begin {
    pub request: ShardRequest,
    pub range: Range,
    /// Ends it early.
    pub finish: CancellationToken,
}

/// What a place is used for.
enum Use {
    Attempt(Box<Begin>),
    /// Nothing as long as another attempt is on the runner.
    Later,
    Nothing,
}

/// Shards that run at once, before the pool has said how many it has places for.
const FEW: u32 = 2;

pub(super) struct Work {
    pub progress: Progress,
    pub plan: Arc<Plan>,
    pub began: Timestamp,
    rate: Rate,
    attempts: BTreeMap<u32, UnderWay>,
    /// Places on runners where a range has to be alone, or is.
    parked: Vec<Place>,
    /// Places of the pool, as of the latest one.
    places: u32,
    model: Option<ServedModel>,
    /// Runners that were lost with a shard.
    interruptions: u32,
    progressed: Instant,
    last_done: u64,
    /// What the loop and the status know.
    asked: Option<(u32, u64, u32)>,
    written: Option<(Counts, u32, u32, u32)>,
}

impl Work {
    /// `interruptions`: runners that were lost before.
    pub(super) fn new(
        plan: Plan,
        parts: Vec<PartName>,
        began: Timestamp,
        interruptions: u32,
    ) -> Self {
        let shard = |size: &crate::batch::plan::ShardSize| Shard {
            pictures: (plan.of == PlanOf::Pictures).then_some(u64::from(size.items)),
            bytes: size.bytes,
        };
        let shards = plan.shards.iter().map(shard).collect();
        Self {
            progress: Progress::new(shards, plan.skipped, parts),
            plan: Arc::new(plan),
            began,
            rate: Rate::default(),
            attempts: BTreeMap::new(),
            parked: Vec::new(),
            places: FEW,
            model: None,
            interruptions,
            progressed: Instant::now(),
            last_done: 0,
            asked: None,
            written: None,
        }
    }

    /// How many places the batch can use now, if that or what is left has changed. Attempts beyond
    /// `spec.parallelism`, or of a batch that is suspended or ends, end early.
    pub(super) fn ask_for_places(
        &mut self,
        uid: &str,
        spec: &InferenceJobSpec,
        stops: bool,
    ) -> Option<BatchEvent> {
        let most = match spec.parallelism {
            _ if stops => 0,
            Some(parallelism) => parallelism,
            None => u32::MAX,
        };
        let running = self.progress.running();
        let excess = running.saturating_sub(most) as usize;
        for attempt in self.attempts.values().rev().take(excess) {
            attempt.finish.cancel();
        }
        let startable = self.progress.startable(Instant::now(), self.at_once(most));
        let places = running.saturating_add(startable).min(most);
        let left = self.left(most);
        let asked = (places, left.pictures, left.at_once);
        if self.asked.replace(asked) == Some(asked) {
            return None;
        }
        Some(BatchEvent::Usable {
            uid: uid.to_owned(),
            places,
            left,
        })
    }

    /// Shards that can run at once.
    fn at_once(&self, most: u32) -> u32 {
        self.places.min(most).max(1)
    }

    /// What is left, as far as places for it are wanted.
    fn left(&self, most: u32) -> Left {
        Left {
            pictures: self.progress.pictures_left(),
            done: self.progress.done_here(),
            at_once: self.progress.divisible().min(most),
            progressed: self.progressed,
        }
    }

    /// What to use a place for: the next range, as the request for its runner.
    fn take(&mut self, uid: &str, spec: &InferenceJobSpec, place: &Place) -> Use {
        self.places = place.of;
        let endpoint = &place.chosen.endpoint;
        let mut beside = (self.attempts.values()).filter(|other| other.endpoint == *endpoint);
        let alone = beside.clone().next().is_none();
        if beside.any(|other| other.is_suspect) {
            return Use::Later;
        }
        let at_once = self.at_once(spec.parallelism.unwrap_or(u32::MAX));
        let now = Instant::now();
        let Some((attempt, range)) = self.progress.take(now, at_once, alone) else {
            return if self.progress.startable(now, at_once) > 0 {
                Use::Later
            } else {
                Use::Nothing
            };
        };
        let model = place.model.clone();
        let deadline_millis = u64::from(spec.attempt_deadline_seconds) * 1000;
        let leader = &place.chosen.leader;
        let request = ShardRequest {
            installation: leader.installation.clone(),
            epoch: leader.epoch,
            job: uid.to_owned(),
            shard: range.shard,
            attempt,
            task: wire::task(spec.task),
            model: model.name.clone(),
            parameters: wire::parameters(&spec.parameters),
            format: match spec.output.as_ref().map(|output| output.format) {
                None | Some(OutputFormat::Jsonl) => PartFormat::Jsonl,
                Some(OutputFormat::Csv) => PartFormat::Csv,
                Some(OutputFormat::Parquet) => PartFormat::Parquet,
            },
            of: match self.plan.of {
                PlanOf::Pictures => ShardOf::Pictures,
                PlanOf::Archives => ShardOf::Archive,
            },
            from: range.from,
            to: range.to,
            // What is done by then counts, and the rest is another attempt's.
            finish_after_millis: deadline_millis / 2,
            deadline_millis,
            exclusive: range.is_suspect(),
            reuse: spec.reuse,
        };
        self.model = Some(model);
        let finish = CancellationToken::new();
        let under_way = UnderWay {
            finish: finish.clone(),
            endpoint: endpoint.clone(),
            is_suspect: range.is_suspect(),
        };
        self.attempts.insert(attempt, under_way);
        Use::Attempt(Box::new(Begin {
            request,
            range,
            finish,
        }))
    }

    /// What to use the places for: the new one, if there is one, and those that wait.
    pub(super) fn take_all(
        &mut self,
        uid: &str,
        spec: &InferenceJobSpec,
        place: Option<Place>,
        is_ending: bool,
    ) -> Vec<(Place, Begin)> {
        let mut begun = Vec::new();
        if is_ending {
            self.parked.clear();
            return begun;
        }
        for place in std::mem::take(&mut self.parked).into_iter().chain(place) {
            match self.take(uid, spec, &place) {
                Use::Attempt(attempt) => begun.push((place, *attempt)),
                Use::Later => self.parked.push(place),
                Use::Nothing => {}
            }
        }
        begun
    }

    /// Records the end of an attempt. An error ends the batch.
    pub(super) fn ended(
        &mut self,
        attempt: u32,
        outcome: Outcome,
        spec: &InferenceJobSpec,
        metrics: &Metrics,
    ) -> Result<(), Failure> {
        self.attempts.remove(&attempt);
        // Of a part that was written, whatever stopped its attempt.
        let mut final_failure = Ok(());
        let (ended, label, reason) = match outcome {
            Outcome::Part {
                part,
                metadata,
                stopped,
            } => {
                if let Some(metadata) = &metadata {
                    metrics.batch_pictures(metadata.succeeded, metadata.failed);
                    metrics.reused_pictures("batch", metadata.reused);
                }
                let reason =
                    (stopped.as_ref()).map_or("none", |(problem, _)| problem.reason.name());
                let stopped = stopped.map(stop).transpose().unwrap_or_else(|failure| {
                    final_failure = Err(failure);
                    None
                });
                let ended = Ended::Part {
                    part,
                    metadata,
                    stopped,
                };
                (ended, "succeeded", reason)
            }
            Outcome::Problem(problem, _) if retry::is_refusal(problem.reason) => {
                (Ended::NotBegun, "refused", problem.reason.name())
            }
            Outcome::Problem(problem, is_store_down) => {
                let reason = problem.reason.name();
                let stopped = stop((problem, is_store_down))?;
                (Ended::Stopped(stopped), "retried", reason)
            }
            Outcome::Lost(why) => {
                tracing::info!(attempt, why, "a runner was lost with a shard");
                self.interruptions = self.interruptions.saturating_add(1);
                (Ended::Lost, "interrupted", "RunnerLost")
            }
            Outcome::NotBegun(why) => {
                tracing::debug!(attempt, why, "a shard was not begun");
                (Ended::NotBegun, "refused", "NotBegun")
            }
            Outcome::Refused(failure) => return Err(failure),
        };
        metrics.shard_attempt(label, reason);
        let delay = |attempts| retry::delay_after(attempts, &spec.retry);
        let now = Instant::now();
        self.progress
            .ended(attempt, ended, now, (spec.retry.limit, delay));
        final_failure
    }

    /// Records what parts say of themselves; the first error, if any.
    pub(super) fn describe(
        &mut self,
        described: Vec<(PartName, Result<Option<PartMetadata>, StoreError>)>,
    ) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for (part, metadata) in described {
            match metadata {
                Ok(Some(metadata)) => self.progress.describe(part, metadata),
                Ok(None) => self.progress.missing(part),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    pub(super) fn too_many_failed(&self, spec: &InferenceJobSpec) -> Option<Failure> {
        let most = spec.max_failed_permille.unwrap_or(1000);
        if !self.progress.has_failed(most) {
            return None;
        }
        let Counts { total, failed, .. } = self.progress.counts();
        Some(Failure {
            reason: "TooManyFailed".to_owned(),
            message: format!(
                "{failed} of {total} pictures have failed, more than spec.maxFailedPermille ({most}) allows: see their rows in the output, or raise it"
            ),
            retryable: false,
        })
    }

    /// Measures the rate; returns what to write if it `may_write` and something has changed.
    pub(super) fn measure(&mut self, may_write: bool) -> Option<Numbers> {
        if !self.progress.undescribed(1).is_empty() {
            // What a former leader has done is not counted yet.
            return None;
        }
        let counts = self.progress.counts();
        let done = counts.done();
        if done != self.last_done {
            self.progressed = Instant::now();
            self.last_done = done;
        }
        self.rate.see(done, Instant::now());
        let now = (
            counts,
            self.progress.permille(),
            self.progress.running(),
            self.interruptions,
        );
        if !may_write || self.written == Some(now) {
            return None;
        }
        self.written = Some(now);
        Some(self.numbers())
    }

    pub(super) fn numbers(&mut self) -> Numbers {
        let remaining = self.rate.remaining(self.progress.pictures_left());
        let remaining = remaining.filter(|_| self.progress.is_measurable());
        let remaining = remaining.and_then(|time| SignedDuration::try_from(time).ok());
        Numbers {
            counts: self.progress.counts(),
            permille: self.progress.permille(),
            shards: self.progress.running(),
            interruptions: self.interruptions,
            per_second: self.rate.per_second(),
            done_at: remaining.map(|time| later(crate::time::now(), time)),
            model: self.model.clone(),
        }
    }
}

/// Why an attempt did not go on. An error ends the batch: it concerns every picture.
fn stop((problem, is_store_down): (Problem, bool)) -> Result<Stopped, Failure> {
    if is_store_down {
        return Ok(Stopped::StoreDown);
    }
    let failure = Failure {
        reason: format!("{:?}", problem.reason),
        message: problem.detail,
        retryable: problem.retryable && problem.reason.retryable(),
    };
    if failure.retryable {
        Ok(Stopped::Failed(failure))
    } else {
        Err(failure)
    }
}
