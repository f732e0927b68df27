//! One attempt at a range of a shard: one request to a runner, with NDJSON in both directions. Everything
//! that the runner may read or write is signed when it asks for it.

use super::spent::Spent;
use crate::batch::plan::{self, Plan, PlanItem};
use crate::batch::progress::Range;
use crate::dispatch::conversation::{NoAnswer, excerpt, lines, next_line, refused};
use crate::dispatch::folders::{FolderError, Folders};
use crate::dispatch::runners::RunnerClient;
use crate::dispatch::store_check::StoreCheck;
use crate::kill_points;
use crate::reuse::Answers;
use bytes::Bytes;
use fovea_crds::{Failure, InferenceJob};
use fovea_protocol::{
    Item, MAX_PART_BYTES, MAX_WINDOW, Order, Part, PartFormat, Problem, Progress, Reason,
    SILENCE_LIMIT, ShardLine, ShardOf, ShardRequest, URL_LIFETIME, Upload,
};
use fovea_store::{Formatted, ObjectKey, PartMetadata, PartName, SignedPut, Store};
use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Orders on their way to the runner.
const ORDERS: usize = 4;

/// Time after the attempt's deadline in which the runner may still report it.
const DEADLINE_GRACE: Duration = Duration::from_secs(5);

/// Time that a runner has to end an attempt after it was told to finish.
const FINISH_LIMIT: Duration = Duration::from_mins(2);

/// Upper bound on the requests for places to write, each of which follows a failed PUT.
const MAX_READY: u32 = 20;

/// A range on its way to a runner.
pub(super) struct ShardAttempt {
    pub job: Arc<InferenceJob>,
    pub runner: RunnerClient,
    pub request: ShardRequest,
    pub range: Range,
    pub plan: Arc<Plan>,
    pub store: Store,
    pub folders: Arc<Folders>,
    pub answers: Arc<Answers>,
    /// Told once the attempt should end with what is done.
    pub finish: CancellationToken,
    /// Its heartbeats, with the number of the attempt.
    pub beats: mpsc::Sender<(u32, Progress)>,
    pub spent: Arc<Spent>,
}

/// What came of an attempt. The flag beside a problem says whether the object store was down.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A part was written: by another writer, if there is no metadata. `stopped`: why the range is not done
    /// to its end.
    Part {
        part: PartName,
        metadata: Option<PartMetadata>,
        stopped: Option<(Problem, bool)>,
    },
    /// Nothing was written.
    Problem(Problem, bool),
    /// The runner stopped answering, or its connection broke.
    Lost(String),
    /// The runner did not begin.
    NotBegun(String),
    /// The namespace may not read its folder.
    Refused(Failure),
}

impl From<NoAnswer> for Outcome {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NotBegun(why) => Self::NotBegun(why),
            NoAnswer::Lost(why) => Self::Lost(why),
            NoAnswer::Problem(problem) if problem.reason == Reason::DeviceLost => {
                Self::Lost(problem.detail)
            }
            NoAnswer::Problem(problem) => Self::Problem(problem, false),
        }
    }
}

/// What was announced, and where it is written.
struct Announced {
    part: Part,
    name: PartName,
    metadata: PartMetadata,
    /// Name of the object with its new answers.
    answers: Option<String>,
}

impl ShardAttempt {
    /// Makes the attempt. Dropping the future breaks the connection, and with it the attempt.
    pub(super) async fn run(self, store_check: &StoreCheck) -> Outcome {
        let limit = Duration::from_millis(self.request.deadline_millis) + DEADLINE_GRACE;
        let outcome = match timeout(limit, self.converse()).await {
            Ok(Ok(outcome) | Err(outcome)) => outcome,
            Err(_) => failed(
                Reason::DeadlineExceeded,
                "the attempt at a shard took longer than spec.attemptDeadlineSeconds",
            ),
        };
        match outcome {
            Outcome::Problem(problem, _) if problem.reason == Reason::FetchFailed => {
                let is_down = store_check.is_down().await;
                Outcome::Problem(problem, is_down)
            }
            Outcome::Part {
                part,
                metadata,
                stopped: Some((problem, _)),
            } if problem.reason == Reason::FetchFailed => {
                let stopped = Some((problem, store_check.is_down().await));
                Outcome::Part {
                    part,
                    metadata,
                    stopped,
                }
            }
            outcome => outcome,
        }
    }

    /// An `Err` ends the attempt as well; it is for `?`.
    async fn converse(&self) -> Result<Outcome, Outcome> {
        let items = plan::items(&self.store, &self.request.job, &self.plan, self.range.shard).await;
        let items = items.map_err(|error| {
            let why = format!("the plan of the shard cannot be read: {error}");
            failed(Reason::FetchFailed, why)
        })?;
        let (orders, body) = mpsc::channel(ORDERS);
        send(&orders, &Order::Shard(self.request.clone())).await?;
        let answer = self.runner.shard(body).await?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(refused(answer).await.into());
        }
        let mut lines = lines(answer);
        let mut announced: Option<Announced> = None;
        let (mut announcements, mut told) = (0, false);
        let mut answering: Option<BoxFuture<'_, Order>> = None;
        let mut finished_by = Instant::now();
        loop {
            let line = tokio::select! {
                line = next_line::<ShardLine>(&mut lines) => line?,
                () = self.finish.cancelled(), if !told => {
                    told = true;
                    finished_by = Instant::now() + FINISH_LIMIT;
                    send(&orders, &Order::Finish).await?;
                    continue;
                }
                Some(answers) = OptionFuture::from(answering.as_mut()) => {
                    answering = None;
                    send(&orders, &answers).await?;
                    continue;
                }
                () = sleep_until(finished_by), if told => {
                    let why = "it did not finish when it was told to";
                    return Err(Outcome::Lost(why.to_owned()));
                }
            };
            match line {
                ShardLine::Heartbeat(progress) => {
                    self.spent.report(progress.cost_micros);
                    // It is only for show: a full channel has newer ones soon.
                    let _ = self.beats.try_send((self.request.attempt, progress));
                }
                ShardLine::Want { from, count } => {
                    let items = self.sign(&items, from, count).await?;
                    send(&orders, &items).await?;
                }
                ShardLine::Ask { questions } => {
                    let questions = self.questions(&questions);
                    let Some(questions) = questions.filter(|_| answering.is_none()) else {
                        return Err(nonsense("questions that it may not ask now"));
                    };
                    answering = Some(self.answer(questions).boxed());
                }
                ShardLine::Ready(part) => {
                    announcements += 1;
                    if announcements > MAX_READY {
                        return Err(nonsense("too many requests for a place to write"));
                    }
                    let place = self.place(part).await?;
                    announced = Some(place.0);
                    send(&orders, &place.1).await?;
                }
                ShardLine::Done {
                    part,
                    exists,
                    stopped,
                    cost_micros,
                } => {
                    self.spent.report_part(&part, cost_micros);
                    let announced = announced.filter(|announced| announced.part == part);
                    let Some(Announced {
                        name,
                        metadata,
                        answers,
                        ..
                    }) = announced
                    else {
                        return Err(nonsense("a part that it did not announce"));
                    };
                    kill_points::after(kill_points::BATCH_PART_WRITTEN);
                    if let Some(answers) = answers {
                        self.written(answers).await;
                    }
                    let metadata = (!exists).then_some(metadata);
                    return Ok(Outcome::Part {
                        part: name,
                        metadata,
                        stopped: stopped.map(|problem| (problem, false)),
                    });
                }
                ShardLine::Problem(problem) => {
                    self.spent.report(problem.cost_micros);
                    return Err(NoAnswer::Problem(problem).into());
                }
            }
        }
    }

    /// The items that the runner asked for, with signed URLs.
    async fn sign(&self, all: &[PlanItem], from: u64, count: u32) -> Result<Order, Outcome> {
        let last = from.saturating_add(u64::from(count.min(MAX_WINDOW)));
        let (from, to) = match self.request.of {
            ShardOf::Pictures => (from, last.min(self.range.to.unwrap_or(u64::MAX))),
            // The range counts the archive's pictures.
            ShardOf::Archive => (from, last.min(1)),
        };
        let at = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        let is_inside = self.request.of == ShardOf::Archive || from >= self.range.from;
        let asked = all.get(at(from)..at(to).min(all.len()));
        let Some(items) = asked.filter(|asked| is_inside && !asked.is_empty()) else {
            return Err(nonsense("a request for items that the range does not have"));
        };
        self.folders.check(&self.job).await?;
        let namespace = self.job.metadata.namespace.as_deref().unwrap_or_default();
        let signer = self.store.signer(URL_LIFETIME).await;
        let signer = signer.map_err(|error| unsigned(&error))?;
        let mut window = Vec::with_capacity(items.len());
        for item in items {
            let error = self.range.error.clone().or_else(|| item.error.clone());
            let url = if error.is_some() {
                None
            } else {
                let key = ObjectKey::data(namespace, &item.key);
                let key = key.map_err(|error| unsigned(&error))?;
                Some(signer.get(&key).map_err(|error| unsigned(&error))?)
            };
            window.push(Item {
                key: item.key.clone(),
                id: item.id.clone(),
                url,
                bytes: item.bytes,
                parameters: item.parameters.clone(),
                error,
            });
        }
        Ok(Order::Items {
            first: from,
            items: window,
            lifetime_millis: u64::try_from(signer.lifetime().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Where the announced part is to be written.
    async fn place(&self, part: Part) -> Result<(Announced, Order), Outcome> {
        let fits = part.from == self.range.from
            && part.to >= part.from
            && self.range.to.is_none_or(|to| part.to <= to)
            && part.succeeded.saturating_add(part.failed) == part.to - part.from
            && part.rows.bytes <= MAX_PART_BYTES
            && self.answers_fit(&part)
            && part.formatted.is_some() == (self.request.format != PartFormat::Jsonl);
        if !fits {
            return Err(nonsense("a part that does not fit its range"));
        }
        let name = PartName {
            shard: self.request.shard,
            from: part.from,
            to: part.to,
            end: part.end,
        };
        let uid = &self.request.job;
        let formatted = part.formatted.as_ref().map(|file| Formatted {
            name: format!(
                "{name}.{}.{}",
                uuid::Uuid::new_v4().simple(),
                extension(self.request.format)
            ),
            bytes: file.bytes,
            sha256: file.sha256.clone(),
        });
        let metadata = PartMetadata {
            succeeded: part.succeeded,
            failed: part.failed,
            skipped: part.skipped,
            bytes: part.rows.bytes,
            sha256: part.rows.sha256.clone(),
            formatted,
            reused: part.reused,
        };
        let formatted = match &metadata.formatted {
            None => None,
            Some(formatted) => {
                let key = ObjectKey::formatted_part(uid, &formatted.name);
                Some(self.upload(key, formatted.bytes, None).await?)
            }
        };
        let key = ObjectKey::part(uid, name);
        let rows = self.upload(key, metadata.bytes, Some(&metadata)).await?;
        let (answers_name, answers) = self.place_answers(&part, name).await?.unzip();
        let announced = Announced {
            part,
            name,
            metadata,
            answers: answers_name,
        };
        let order = Order::Part {
            formatted,
            rows,
            answers,
        };
        Ok((announced, order))
    }

    pub(super) async fn upload(
        &self,
        key: Result<ObjectKey, fovea_store::InvalidKey>,
        bytes: u64,
        metadata: Option<&PartMetadata>,
    ) -> Result<Upload, Outcome> {
        let key = key.map_err(|error| unsigned(&error))?;
        let signed = self
            .store
            .presign_put_if_absent(&key, bytes, metadata, URL_LIFETIME);
        let SignedPut { url, headers } = signed.await.map_err(|error| unsigned(&error))?;
        Ok(Upload { url, headers })
    }
}

/// The extension of a part in this format.
fn extension(format: PartFormat) -> &'static str {
    match format {
        PartFormat::Jsonl => "jsonl",
        PartFormat::Csv => "csv",
        PartFormat::Parquet => "parquet",
    }
}

/// Sends an order. It waits while the runner reads none.
async fn send(orders: &mpsc::Sender<Bytes>, order: &Order) -> Result<(), Outcome> {
    let mut line = serde_json::to_vec(order).unwrap_or_default();
    line.push(b'\n');
    match timeout(SILENCE_LIMIT, orders.send(line.into())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Outcome::Lost("it closed the request".to_owned())),
        Err(_) => Err(Outcome::Lost("it reads no orders".to_owned())),
    }
}

impl From<FolderError> for Outcome {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::NotOwned(failure) => Self::Refused(failure),
            FolderError::Store(_) => failed(Reason::FetchFailed, error.to_string()),
            FolderError::Namespace(_) => Self::NotBegun(error.to_string()),
        }
    }
}

fn unsigned(error: &dyn std::fmt::Display) -> Outcome {
    failed(
        Reason::FetchFailed,
        format!("a URL cannot be signed: {error}"),
    )
}

fn nonsense(what: &str) -> Outcome {
    failed(
        Reason::Unknown,
        format!("the runner answered {}", excerpt(what)),
    )
}

fn failed(reason: Reason, why: impl Into<String>) -> Outcome {
    Outcome::Problem(Problem::new(reason, why), false)
}
