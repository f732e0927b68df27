//! A list and its watch, as kube's `watcher`, with three things more: a deadline for every answer and for
//! silence, a check that the cluster was not restored from an older snapshot, and a new list every hour.

use crate::proof::{Proof, Watches};
use crate::stream::read_page;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use fovea_crds::resource_version_is_older;
use futures::stream::{BoxStream, StreamExt as _, unfold};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::runtime::watcher::Event;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Length of one watch request in seconds. The API server ends it then, so that an idle watch proves every
/// so often that it works.
const WATCH_SECONDS: u32 = 20;
/// Longest silence of a watch. The API server should have ended it before.
const SILENCE_LIMIT: Duration = Duration::from_secs(25);
/// Read timeout of a client with which objects are watched. It bounds the requests that have no deadline of
/// their own; a watch has one, which comes first.
pub const READ_LIMIT: Duration = Duration::from_secs(28);
/// Upper bound on the answer to a watch request, or to a read of the cluster's revision.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Upper bound on the answer with one page of a list.
const PAGE_LIMIT: Duration = Duration::from_secs(25);
/// Objects per page. Each may have 1.5 MiB, of which [`PAGE_LIMIT`] has to suffice for all.
const PAGE: u32 = 100;
/// Interval between lists of everything: a change that a watch has not delivered is found then.
const LIST_EVERY: Duration = Duration::from_hours(1);
/// A watch that ends sooner, without an event, counts as a failure.
const SHORT: Duration = Duration::from_secs(1);
/// Pauses after failures, with jitter of up to as much again.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(Duration::from_secs(3))
    .with_factor(2.0)
    .with_jitter()
    .without_max_times();

/// Why a watch was interrupted. It goes on by itself, after a pause.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] kube::Error),
    /// The API server sent an error in place of an event.
    #[error("the API server ended the watch: {0}")]
    Ended(String),
    /// The API server does not keep the events since the last one. Everything is listed again.
    #[error("the events since the last one are no longer kept: {0}")]
    Expired(String),
    /// A request was not answered in time.
    #[error("no answer within {} s", .0.as_secs())]
    Unanswered(Duration),
    /// Neither an event nor the end came in time.
    #[error("the watch was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The API server ended the watch at once.
    #[error("the watch ended at once")]
    Short,
    /// The cluster has an older state than this watch has reached: it was restored from a snapshot. Everything
    /// is listed again; versions from before cannot be compared with those from now on.
    #[error("the cluster was set back from resourceVersion {reached} to {now}")]
    SetBack {
        /// The latest resourceVersion of this watch.
        reached: String,
        /// The cluster's resourceVersion.
        now: String,
    },
}

/// The events of a watch.
pub type Events<K> = BoxStream<'static, Result<Event<K>, WatchError>>;

/// Lists and watches the objects of `api`, for ever; `labels` is a selector. After an interruption the
/// watch goes on where it was; if that is not possible, everything is listed again.
pub fn watch<K>(api: Api<K>, labels: Option<&str>, watches: &Watches) -> Events<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    bounded(api, labels, watches, Limits::default())
}

fn bounded<K>(api: Api<K>, labels: Option<&str>, watches: &Watches, limits: Limits) -> Events<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let watch = Watch {
        api,
        labels: labels.map(str::to_owned),
        limits,
        proof: watches.start(&K::plural(&())),
        reached: String::new(),
        listed: Instant::now(),
        pauses: PAUSES.build(),
        pause: None,
        state: State::Unlisted,
    };
    let events = unfold(watch, |mut watch| async move {
        loop {
            if let Some(pause) = watch.pause.take() {
                sleep(pause).await;
            }
            match watch.step().await {
                Ok(None) => {}
                Ok(Some(event)) => return Some((Ok(event), watch)),
                Err(error) => {
                    watch.pause = watch.pauses.next();
                    return Some((Err(error), watch));
                }
            }
        }
    });
    events.boxed()
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    page: Duration,
    answer: Duration,
    silence: Duration,
    list_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            page: PAGE_LIMIT,
            answer: ANSWER_LIMIT,
            silence: SILENCE_LIMIT,
            list_every: LIST_EVERY,
        }
    }
}

struct Watch<K> {
    api: Api<K>,
    labels: Option<String>,
    limits: Limits,
    proof: Proof,
    /// The latest resourceVersion; empty before the first list.
    reached: String,
    /// Time of the latest complete list.
    listed: Instant,
    pauses: ExponentialBackoff,
    /// Before the next step.
    pause: Option<Duration>,
    state: State<K>,
}

enum State<K> {
    Unlisted,
    /// A page is delivered, then the next one is read.
    Listing {
        page: VecDeque<K>,
        next: Page,
    },
    /// A watch request has ended.
    Interrupted,
    /// The cluster has what was reached: the next watch request can go on from there.
    Checked,
    Watching {
        events: BoxStream<'static, kube::Result<WatchEvent<K>>>,
        since: Instant,
        idle: bool,
    },
}

enum Page {
    First,
    After(String),
    None,
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Does what the state requires next. An error leaves a state from which the watch can go on.
    async fn step(&mut self) -> Result<Option<Event<K>>, WatchError> {
        match std::mem::replace(&mut self.state, State::Unlisted) {
            State::Unlisted => {
                self.state = State::Listing {
                    page: VecDeque::new(),
                    next: Page::First,
                };
                Ok(Some(Event::Init))
            }
            State::Listing { mut page, next } => match (page.pop_front(), next) {
                (Some(object), next) => {
                    self.state = State::Listing { page, next };
                    Ok(Some(Event::InitApply(object)))
                }
                (None, Page::First) => self.list(None).await,
                (None, Page::After(token)) => self.list(Some(token)).await,
                (None, Page::None) => {
                    self.listed = Instant::now();
                    self.state = State::Checked;
                    Ok(Some(Event::InitDone))
                }
            },
            State::Interrupted if self.listed.elapsed() >= self.limits.list_every => Ok(None),
            State::Interrupted => {
                self.state = State::Interrupted;
                self.check().await?;
                self.state = State::Checked;
                Ok(None)
            }
            State::Checked => {
                self.state = State::Interrupted;
                self.begin().await?;
                Ok(None)
            }
            State::Watching {
                mut events,
                since,
                idle,
            } => {
                self.state = State::Interrupted;
                let next = timeout(self.limits.silence, events.next()).await;
                let Some(next) = next.map_err(|_| WatchError::Silent(self.limits.silence))? else {
                    if idle && since.elapsed() < SHORT {
                        return Err(WatchError::Short);
                    }
                    self.pauses = PAUSES.build();
                    return Ok(None);
                };
                // What does not decode is skipped: the next watch would begin with it again.
                let is_skipped = next.as_ref().is_err_and(is_undecodable);
                let event = self.read(next);
                if event.is_ok() || is_skipped {
                    self.proof.renew();
                    self.pauses = PAUSES.build();
                    let idle = false;
                    self.state = State::Watching {
                        events,
                        since,
                        idle,
                    };
                }
                event
            }
        }
    }

    /// Reads one page.
    async fn list(&mut self, after: Option<String>) -> Result<Option<Event<K>>, WatchError> {
        let first = after.is_none();
        let params = ListParams {
            label_selector: self.labels.clone(),
            limit: Some(PAGE),
            continue_token: after,
            ..ListParams::default()
        };
        let client = self.api.clone().into_client();
        let reading = read_page(&client, self.api.resource_url(), &params);
        let list = answered(self.limits.page, reading).await?;
        self.proof.renew();
        let token = list.next();
        if first {
            // Without a resourceVersion in the request, the first page is current.
            self.advance(list.metadata.resource_version.unwrap_or_default())?;
        }
        self.state = State::Listing {
            page: list.items.into(),
            next: token.map_or(Page::None, Page::After),
        };
        Ok(None)
    }

    /// Checks that the cluster still has what was reached: the API server accepts a watch from the future, and
    /// then sends nothing until that future has come.
    async fn check(&mut self) -> Result<(), WatchError> {
        let one = ListParams::default().limit(1);
        let list = answered(self.limits.answer, self.api.list_metadata(&one)).await?;
        let now = list.metadata.resource_version.unwrap_or_default();
        if resource_version_is_older(&now, &self.reached) {
            self.state = State::Unlisted;
            self.advance(now)?;
        }
        Ok(())
    }

    /// Goes on at `now`, the cluster's current resourceVersion, which fails if more was reached before.
    fn advance(&mut self, now: String) -> Result<(), WatchError> {
        let reached = std::mem::replace(&mut self.reached, now.clone());
        if resource_version_is_older(&now, &reached) {
            // The API server works again.
            self.pauses = PAUSES.build();
            return Err(WatchError::SetBack { reached, now });
        }
        Ok(())
    }

    /// Requests a watch.
    async fn begin(&mut self) -> Result<(), WatchError> {
        let params = WatchParams {
            label_selector: self.labels.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let watch = self.api.watch(&params, &self.reached);
        match answered(self.limits.answer, watch).await {
            Ok(events) => {
                self.proof.renew();
                self.state = State::Watching {
                    events: events.boxed(),
                    since: Instant::now(),
                    idle: true,
                };
                Ok(())
            }
            Err(WatchError::Failed(kube::Error::Api(status))) if status.code == 410 => {
                self.state = State::Unlisted;
                Err(WatchError::Expired(status.message))
            }
            Err(error) => Err(error),
        }
    }

    /// The event for what the API server sent.
    fn read(&mut self, sent: kube::Result<WatchEvent<K>>) -> Result<Option<Event<K>>, WatchError> {
        let (version, event) = match sent {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                (object.resource_version(), Some(Event::Apply(object)))
            }
            Ok(WatchEvent::Deleted(object)) => {
                (object.resource_version(), Some(Event::Delete(object)))
            }
            Ok(WatchEvent::Bookmark(mark)) => (Some(mark.metadata.resource_version), None),
            Ok(WatchEvent::Error(status)) if status.code == 410 => {
                self.state = State::Unlisted;
                return Err(WatchError::Expired(status.message));
            }
            Ok(WatchEvent::Error(status)) => return Err(WatchError::Ended(status.to_string())),
            Err(error) => return Err(error.into()),
        };
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            self.reached = version;
        }
        Ok(event)
    }
}

/// Whether a line of a watch is neither an event nor an error of the API server. kube reads most such lines
/// as a status without a code.
fn is_undecodable(error: &kube::Error) -> bool {
    match error {
        kube::Error::SerdeError(_) => true,
        kube::Error::Api(status) => status.code == 0,
        _ => false,
    }
}

async fn answered<T>(
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, WatchError> {
    match timeout(limit, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(WatchError::Unanswered(limit)),
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
