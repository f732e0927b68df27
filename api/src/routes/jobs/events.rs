//! `GET /v1/jobs/{id}/events`: a job's changes as server-sent events, the current state first, the
//! end last.

use super::description::FollowProblems;
use super::{Id, JobView};
use crate::auth::Tenant;
use crate::error::{Problem, ProblemType};
use crate::jobs::Follower;
use crate::routes::JOB_EVENTS;
use crate::routes::query::Query;
use crate::state::AppState;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use fovea_crds::InferenceJob;
use futures::Stream;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use schemars::JsonSchema;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Time after which a client reconnects once its stream has ended.
const RETRY: Duration = Duration::from_secs(2);
/// `Retry-After` at the limit on waiting requests.
const RETRY_AFTER_SECONDS: u32 = 5;
/// Disables nginx's buffering of the events.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// One event, as a client's `EventSource` reads it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct JobEvent {
    /// The kind of event; absent if the event carries only `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<JobEventKind>,
    /// resourceVersion of the job, for `Last-Event-ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The job as JSON (a `JobView`); `{}` for a deleted job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("contentMediaType" = "application/json"))]
    data: Option<String>,
    /// Milliseconds after which a client reconnects once the stream has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
}

/// What happened to the job.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "a description")]
enum JobEventKind {
    /// The job is new or has changed; `data` is the job.
    Status,
    /// The job was deleted; `data` is `{}`.
    Deleted,
}

/// Follow a job by server-sent events.
///
/// Each event's id is the job's resourceVersion. A client that reconnects with it as `Last-Event-ID`
/// gets no event twice; if that event was the job's end, the answer is 204, and the client must not
/// reconnect.
#[utoipa::path(
    get,
    path = JOB_EVENTS,
    operation_id = "followJob",
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job's id."),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client received."),
    ),
    responses(
        (status = 200, description = "`event: status` with the job as `data`, till its end.",
            body = ref("#/components/schemas/JobEvent"), content_type = "text/event-stream"),
        (status = 204, description = "The job has ended, and the client has its last event."),
        FollowProblems,
    ),
    security((), ("bearer" = [])),
)]
pub(crate) async fn stream(
    State(app): State<AppState>,
    tenant: Tenant,
    Id(id): Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::none(&uri)?;
    let follower = app.jobs.follow(&tenant, &id).await?;
    let follower = follower.map_err(|refused| {
        let (full, what) = (ProblemType::TooManyWaiters, "requests that follow jobs");
        refused.problem(full, what, RETRY_AFTER_SECONDS)
    })?;
    let last = headers.get("last-event-id").map(HeaderValue::as_bytes);
    let current = follower.job().metadata.resource_version.as_deref();
    let is_current = last.is_some() && last == current.map(str::as_bytes);
    if is_current && follower.job().is_finished() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let shown = is_current.then(|| JobView::of(follower.job()));
    let reads = &app.config.reads;
    let events = Events {
        follower,
        shown,
        begun: false,
        deadline: Instant::now() + reads.event_stream(),
        draining: app.draining.clone(),
    };
    let keep_alive = KeepAlive::new().interval(reads.event_keep_alive());
    let headers = [(CACHE_CONTROL, "no-cache"), UNBUFFERED];
    Ok((headers, Sse::new(events.stream()).keep_alive(keep_alive)).into_response())
}

/// The state of a stream.
struct Events {
    follower: Follower,
    /// The job as the client last received it.
    shown: Option<JobView>,
    /// The first event was sent.
    begun: bool,
    deadline: Instant,
    draining: CancellationToken,
}

impl Events {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        futures::stream::unfold(Some(self), |events| async move {
            let (event, rest) = events?.next().await?;
            Some((Ok(event), rest))
        })
    }

    /// The next event, and the state after it; `None` at the stream's end.
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        if !self.begun {
            self.begun = true;
            if self.shown.is_some() {
                // The client has the current state; `retry` shows it that the stream is open.
                return Some((Event::default().retry(RETRY), Some(self)));
            }
            let view = JobView::of(self.follower.job());
            return self.status(view, true);
        }
        loop {
            let next = timeout_at(self.deadline, self.follower.next());
            let outcome = match self.draining.run_until_cancelled(next).await {
                // The client reconnects, maybe to another replica.
                None | Some(Err(_)) => return None,
                Some(Ok(outcome)) => outcome.map(|job| JobView::of(job)),
            };
            match outcome {
                Ok(view) if self.shown.as_ref() == Some(&view) => {}
                Ok(view) => return self.status(view, false),
                Err(problem) if problem.kind == ProblemType::NoSuchJob => {
                    return Some((Event::default().event("deleted").data("{}"), None));
                }
                Err(problem) => {
                    tracing::debug!(cause = problem.cause(), "a stream of events ends early");
                    return None;
                }
            }
        }
    }

    fn status(mut self, view: JobView, first: bool) -> Option<(Event, Option<Self>)> {
        let event = event(self.follower.job(), &view)?;
        let event = if first { event.retry(RETRY) } else { event };
        let ended = self.follower.job().is_finished();
        self.shown = Some(view);
        Some((event, (!ended).then_some(self)))
    }
}

fn event(job: &InferenceJob, view: &JobView) -> Option<Event> {
    let version = job.metadata.resource_version.as_deref().unwrap_or_default();
    match Event::default().event("status").id(version).json_data(view) {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::error!(%error, "a job cannot be written as JSON");
            None
        }
    }
}
