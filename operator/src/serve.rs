//! `/livez`, `/readyz` and `/metrics`.
//!
//! A replica that waits for the lease is ready: otherwise a Deployment with a standby would never
//! finish a rollout. The leader is ready while it dispatches, its watches work, and its store is not known to
//! lose what is written. Only a leader whose
//! loop is stuck is not live: its restart lets another replica take over.

use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::store_probe::{StoreFindings, StoreState};
use crate::time::OUR_CLOCK;
use axum::extract::{RawQuery, State};
use axum::response::IntoResponse;
use axum::{Router, routing::get};
use fovea_store::{ClockSkew, StoreFault};
use http::StatusCode;
use http::header;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The loop runs at least every two seconds; without a run for this long it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// State that the probes answer from.
#[derive(Clone, Default)]
pub struct Readiness {
    /// This replica holds the lease.
    pub leading: Arc<AtomicBool>,
    /// The leader's caches are filled and it dispatches.
    pub dispatching: Arc<AtomicBool>,
    /// Heartbeat of the leader's loop.
    pub heartbeat: Arc<Heartbeat>,
    /// What the leader's probes of the object store have found.
    pub store: StoreFindings,
}

/// Time of the loop's last run.
#[derive(Debug)]
pub struct Heartbeat {
    begin: Instant,
    /// Milliseconds after `begin`; [`RESTING`] while no loop runs.
    last: AtomicU64,
}

/// The value of `last` while no loop runs.
const RESTING: u64 = u64::MAX;

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
            last: AtomicU64::new(RESTING),
        }
    }
}

impl Heartbeat {
    /// Records a run of the loop.
    pub fn beat(&self) {
        self.last.store(self.millis(), Ordering::Relaxed);
    }

    /// Records that the loop has ended, which is healthy.
    pub fn rest(&self) {
        self.last.store(RESTING, Ordering::Relaxed);
    }

    /// Time since the loop's last run; `None` while no loop runs.
    fn silence(&self) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed);
        let silence = Duration::from_millis(self.millis().saturating_sub(last));
        (last != RESTING).then_some(silence)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(RESTING - 1)
    }
}

/// One line of `/readyz?verbose`: the check's name and its result.
type Check = (&'static str, Result<Cow<'static, str>, Cow<'static, str>>);

impl Readiness {
    /// `complaint`: why the watches cannot be relied on.
    /// `skew_seconds`: by how much the machine's clock is ahead of the API server's.
    /// `store_skew`: the difference to the object store's clock.
    fn checks(
        &self,
        complaint: Option<String>,
        skew_seconds: f64,
        store_skew: Option<ClockSkew>,
    ) -> [Check; 6] {
        let leading = self.leading.load(Ordering::Relaxed);
        let lease = if leading {
            "leading"
        } else {
            "standing by for the lease"
        };
        let caches = match (leading, self.dispatching.load(Ordering::Relaxed)) {
            (false, _) => Ok("not needed while standing by".into()),
            (true, true) => Ok("filled".into()),
            (true, false) => Err("leading, but the caches are not filled yet".into()),
        };
        let watches =
            complaint.map_or(
                Ok("none is stale".into()),
                |complaint| Err(complaint.into()),
            );
        let clock = if skew_seconds.abs() < 2.0 {
            "as the API server's".to_owned()
        } else {
            format!("{skew_seconds:.0} s ahead of the API server's, which is used")
        };
        let store_clock = store_skew.map_or("as the API server's".to_owned(), |skew| {
            skew.describe(OUR_CLOCK)
        });
        [
            ("lease", Ok(lease.into())),
            ("caches", caches),
            ("watches", watches),
            // A wrong one does no harm: it is not used.
            ("clock", Ok(clock.into())),
            ("store-clock", Ok(store_clock.into())),
            ("object-store", store(&self.store.current())),
        ]
    }
}

/// A store that is down leaves the leader ready: it keeps jobs waiting. One with wrong lists serves single jobs.
fn store(state: &StoreState) -> Result<Cow<'static, str>, Cow<'static, str>> {
    let complaint = state.complaint().unwrap_or_default();
    match state {
        StoreState::Unknown => Ok("not probed yet".into()),
        StoreState::Passed => Ok("keeps and lists what is written".into()),
        StoreState::Unprobed(_) | StoreState::Faulty(StoreFault::Lists(_)) => {
            Ok(format!("warning: {complaint}").into())
        }
        StoreState::NotS3(_) | StoreState::Faulty(StoreFault::Writes(_)) => Err(complaint.into()),
    }
}

#[derive(Clone)]
struct Probed {
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// The routes of probes and scrapes.
pub fn router(readiness: Readiness, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(Probed { readiness, metrics })
}

async fn livez(State(probed): State<Probed>) -> (StatusCode, String) {
    live(probed.readiness.heartbeat.silence())
}

fn live(silence: Option<Duration>) -> (StatusCode, String) {
    match silence {
        Some(silence) if silence > STUCK_AFTER => {
            let text = format!("the loop has stood still for {} s\n", silence.as_secs());
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
        _ => (StatusCode::OK, "ok\n".to_owned()),
    }
}

async fn readyz(State(probed): State<Probed>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let is_verbose = |pair: &str| pair.split('=').next() == Some("verbose");
    let verbose = query.is_some_and(|query| query.split('&').any(is_verbose));
    let complaint = probed.metrics.watches().complaint();
    let skew_seconds = crate::time::clock().skew_seconds();
    let store = ClockSkew::of(probed.metrics.upstreams().store_clock_ahead_seconds());
    let checks = probed.readiness.checks(complaint, skew_seconds, store);
    ready(&checks, verbose)
}

/// The answer of `/readyz`, in the format of Kubernetes' own components.
fn ready(checks: &[Check], verbose: bool) -> (StatusCode, String) {
    let passed = checks.iter().all(|(_, outcome)| outcome.is_ok());
    let lines: String = checks
        .iter()
        .map(|(name, outcome)| match outcome {
            Ok(word) => format!("[+]{name} ok: {word}\n"),
            Err(reason) => format!("[-]{name} failed: {reason}\n"),
        })
        .collect();
    match (passed, verbose) {
        (true, false) => (StatusCode::OK, "ok\n".to_owned()),
        (true, true) => (StatusCode::OK, format!("{lines}readyz check passed\n")),
        (false, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{lines}readyz check failed\n"),
        ),
    }
}

async fn scrape(State(probed): State<Probed>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, CONTENT_TYPE)],
        probed.metrics.text(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_dead_and_one_that_does_not_run_is_not() {
        assert_eq!(live(None).0, StatusCode::OK);
        assert_eq!(live(Some(Duration::from_secs(2))).0, StatusCode::OK);
        let (status, text) = live(Some(STUCK_AFTER + Duration::from_secs(1)));
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(text.contains("31 s"), "{text}");

        let heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.silence(), None);
        heartbeat.beat();
        assert!(
            heartbeat
                .silence()
                .is_some_and(|silence| silence < STUCK_AFTER)
        );
        heartbeat.rest();
        assert_eq!(heartbeat.silence(), None);
    }

    #[test]
    fn a_store_that_loses_writes_makes_the_leader_unready_and_wrong_lists_are_a_warning() {
        let what = || "they repeat \"a\"".to_owned();
        for (state, ready, part) in [
            (StoreState::Unknown, true, "ok: not probed"),
            (
                StoreState::Unprobed("denied".to_owned()),
                true,
                "ok: warning: denied",
            ),
            (StoreState::Passed, true, "ok: keeps"),
            (
                StoreState::Faulty(StoreFault::Lists(what())),
                true,
                "ok: warning: the object store's lists cannot be relied on: they repeat \"a\"",
            ),
            (
                StoreState::Faulty(StoreFault::Writes(what())),
                false,
                "failed: the object store does not keep",
            ),
            (
                StoreState::NotS3("200, text/html".to_owned()),
                false,
                "no S3 (200, text/html)",
            ),
        ] {
            let outcome = store(&state);
            assert_eq!(outcome.is_ok(), ready, "{state:?}");
            let (_, text) = self::ready(&[("object-store", outcome)], true);
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_standby_is_ready_and_a_leader_while_it_dispatches_and_sees() {
        let readiness = Readiness::default();
        let (status, text) = ready(&readiness.checks(None, 0.0, None), true);
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("[+]lease ok: standing by"), "{text}");
        assert!(text.contains("[+]clock ok: as the API"), "{text}");
        readiness.leading.store(true, Ordering::Relaxed);
        let (status, text) = ready(&readiness.checks(None, 0.0, None), false);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("[-]caches failed"), "{text}");
        readiness.dispatching.store(true, Ordering::Relaxed);
        let (status, text) = ready(&readiness.checks(None, 0.0, None), false);
        assert_eq!((status, text.as_str()), (StatusCode::OK, "ok\n"));
        let (_, text) = ready(&readiness.checks(None, 86_400.2, None), true);
        assert!(text.contains("[+]clock ok: 86400 s ahead"), "{text}");
        let (status, text) = ready(&readiness.checks(None, 0.0, ClockSkew::of(-1200.0)), true);
        assert_eq!(status, StatusCode::OK);
        let named =
            "[+]store-clock ok: the API server's clock is 20 minutes behind the object store's";
        assert!(text.contains(named), "{text}");
        let blind = Some("no working watch of pods for 31 s".to_owned());
        let (status, text) = ready(&readiness.checks(blind, 0.0, None), false);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("[-]watches failed: no working"), "{text}");
    }
}
