//! Waits until the applied pools are Ready. A pool's conditions say so, as kstatus reads them.

use super::ApplyPoolsError;
use crate::pool::SPEC_REFUSED;
use crate::pool::applier::server_message;
use fovea_crds::RunnerPool;
use fovea_crds::conditions::{self, READY, RECONCILING, STALLED};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(2);
/// How long a pool may stay as it was stalled before this release: the operator has to act on what has changed.
const OLD_STALL: Duration = Duration::from_mins(3);
/// How long a pool may be missing, or unreadable for lack of rights, as it is once the release is gone.
const MISSING: Duration = Duration::from_mins(1);

/// What a pool's status says of its newest spec.
#[derive(Debug, PartialEq)]
enum Outcome {
    Ready,
    Coming(String),
    /// Since when; `None` if waiting cannot help.
    Stalled(String, Option<Timestamp>),
}

fn outcome(pool: &RunnerPool) -> Outcome {
    let status = pool.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    if observed < pool.metadata.generation {
        return Outcome::Coming("the operator has not observed its spec yet".to_owned());
    }
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let holds = |kind| conditions::get_true(conditions, kind);
    if let Some(stalled) = holds(STALLED) {
        let since = (stalled.reason != SPEC_REFUSED).then_some(stalled.last_transition_time.0);
        return Outcome::Stalled(stalled.message.clone(), since);
    }
    let because = |each: &Condition| format!("{}: {}", each.reason, each.message);
    match (holds(READY), holds(RECONCILING)) {
        (Some(_), None) => Outcome::Ready,
        (_, Some(reconciling)) => Outcome::Coming(because(reconciling)),
        (None, None) => {
            let ready = conditions::get(conditions, READY);
            Outcome::Coming(ready.map_or_else(String::new, because))
        }
    }
}

/// The pools of the namespace, by name.
type Listed = BTreeMap<String, RunnerPool>;

async fn list(pools: &Api<RunnerPool>) -> kube::Result<Listed> {
    let all = pools.list(&ListParams::default()).await?.items.into_iter();
    Ok(all.map(|pool| (pool.name_any(), pool)).collect())
}

/// A pool that is waited for.
struct Waiting<'a> {
    name: &'a str,
    /// Why it is not Ready.
    why: String,
    missing_since: Option<Instant>,
}

impl<'a> Waiting<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            why: "it has not been read yet".to_owned(),
            missing_since: None,
        }
    }

    /// Whether the pool is Ready in this list of all pools; fails if waiting for it is of no use.
    fn is_ready(
        &mut self,
        listed: &kube::Result<Listed>,
        (began, began_at): (Instant, Timestamp),
    ) -> Result<bool, ApplyPoolsError> {
        let (why, is_missing) = match listed.as_ref().map(|pools| pools.get(self.name)) {
            Ok(None) => ("it is not there".to_owned(), true),
            Err(error) => {
                let is_forbidden =
                    matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403));
                (server_message(error), is_forbidden)
            }
            Ok(Some(pool)) => match outcome(pool) {
                Outcome::Ready => return Ok(true),
                Outcome::Stalled(why, since) => {
                    // Conditions have times of whole seconds.
                    let is_old = since.is_some_and(|at| at.as_second() < began_at.as_second());
                    if !is_old || began.elapsed() > OLD_STALL {
                        let name = self.name.to_owned();
                        return Err(ApplyPoolsError::Stalled { name, why });
                    }
                    (why, false)
                }
                Outcome::Coming(why) => (why, false),
            },
        };
        let missing_since = self.missing_since.filter(|_| is_missing);
        if missing_since.is_some_and(|since| since.elapsed() > MISSING) {
            self.why = why;
            return Err(self.not_ready(began.elapsed()));
        }
        self.missing_since = missing_since.or_else(|| is_missing.then(Instant::now));
        if why != self.why {
            tracing::info!("RunnerPool {} is not Ready: {why}", self.name);
            self.why = why;
        }
        Ok(false)
    }

    fn not_ready(&self, waited: Duration) -> ApplyPoolsError {
        ApplyPoolsError::NotReady {
            name: self.name.to_owned(),
            seconds: waited.as_secs(),
            why: self.why.clone(),
        }
    }
}

/// Returns once every pool of `names` is Ready; fails at once if one is stalled, and after `limit`.
pub(super) async fn until_ready(
    pools: &Api<RunnerPool>,
    names: &[&str],
    limit: Duration,
) -> Result<(), ApplyPoolsError> {
    let began = (Instant::now(), Timestamp::now());
    let until = began.0 + limit;
    let mut waiting: Vec<Waiting<'_>> = names.iter().map(|name| Waiting::new(name)).collect();
    loop {
        let listed = tokio::time::timeout_at(until, list(pools)).await;
        let mut others = Vec::new();
        for mut pool in waiting {
            let is_ready = listed
                .as_ref()
                .map_or(Ok(false), |listed| pool.is_ready(listed, began));
            if is_ready? {
                println!("RunnerPool {} Ready", pool.name);
            } else {
                others.push(pool);
            }
        }
        let Some(first) = others.first() else {
            return Ok(());
        };
        if Instant::now() >= until {
            return Err(first.not_ready(limit));
        }
        waiting = others;
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn outcome_of(observed: i64, conditions: &[(&str, &str)]) -> Outcome {
        let conditions = conditions.iter().map(|(kind, status)| {
            json!({
                "type": kind, "status": status, "reason": "R", "message": format!("{kind}: why"),
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        });
        let pool = json!({
            "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool",
            "metadata": {"name": "a", "generation": 2},
            "spec": {"models": []},
            "status": {
                "observedGeneration": observed, "conditions": conditions.collect::<Vec<_>>(),
            },
        });
        outcome(&serde_json::from_value(pool).unwrap())
    }

    #[test]
    fn a_pool_is_ready_when_nothing_of_its_newest_spec_is_to_be_done() {
        let ready = [("Ready", "True")];
        assert_eq!(outcome_of(2, &ready), Outcome::Ready);
        let settled = [
            ("Reconciling", "False"),
            ("Ready", "True"),
            ("Stalled", "False"),
        ];
        assert_eq!(outcome_of(2, &settled), Outcome::Ready);
        assert!(matches!(outcome_of(1, &ready), Outcome::Coming(_)));
        let rolls = [("Ready", "True"), ("Reconciling", "True")];
        let why = || Outcome::Coming("R: Reconciling: why".to_owned());
        assert_eq!(outcome_of(2, &rolls), why());
        let starts = [("Ready", "False"), ("Reconciling", "True")];
        assert_eq!(outcome_of(2, &starts), why());
        assert!(matches!(outcome_of(2, &[]), Outcome::Coming(_)));
    }

    #[test]
    fn only_a_status_of_the_newest_spec_can_be_stalled() {
        let stalled = [("Ready", "False"), ("Stalled", "True")];
        let why = "Stalled: why".to_owned();
        let since = "2026-01-01T00:00:00Z".parse().ok();
        assert_eq!(outcome_of(2, &stalled), Outcome::Stalled(why, since));
        assert!(matches!(outcome_of(1, &stalled), Outcome::Coming(_)));
    }
}
