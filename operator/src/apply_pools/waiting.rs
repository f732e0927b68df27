//! Waits until the applied pools are Ready. A pool's conditions say so, as kstatus reads them.

use super::{ApplyPoolsError, live};
use crate::pool::applier::server_message;
use fovea_crds::RunnerPool;
use kube::Api;
use std::time::Duration;
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(2);

/// What a pool's status says of its newest spec.
#[derive(Debug, PartialEq)]
enum Outcome {
    Ready,
    /// The message is of the condition Ready.
    Coming(String),
    Stalled(String),
}

fn outcome(pool: &RunnerPool) -> Outcome {
    let status = pool.status.as_ref();
    let observed = status.and_then(|status| status.observed_generation);
    if observed < pool.metadata.generation {
        return Outcome::Coming("the operator has not observed its spec yet".to_owned());
    }
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let condition = |kind: &str| conditions.iter().find(|each| each.type_ == kind);
    let holds = |kind: &str| condition(kind).filter(|each| each.status == "True");
    let message = |kind: &str| condition(kind).map_or("", |each| &each.message).to_owned();
    if let Some(stalled) = holds("Stalled") {
        return Outcome::Stalled(stalled.message.clone());
    }
    match (holds("Ready"), holds("Reconciling")) {
        (Some(_), None) => Outcome::Ready,
        (Some(_), Some(reconciling)) => Outcome::Coming(reconciling.message.clone()),
        (None, _) => Outcome::Coming(message("Ready")),
    }
}

/// Returns once every pool of `names` is Ready; fails at once if one is stalled, and after `limit`.
pub(super) async fn until_ready(
    pools: &Api<RunnerPool>,
    names: &[&str],
    limit: Duration,
) -> Result<(), ApplyPoolsError> {
    let until = Instant::now() + limit;
    for name in names {
        let name = *name;
        let not_ready = |why: String| ApplyPoolsError::NotReady {
            name: name.to_owned(),
            seconds: limit.as_secs(),
            why,
        };
        let mut logged = String::new();
        loop {
            let found = tokio::time::timeout_at(until, live(pools, name)).await;
            let why = match found.map_err(|_| not_ready(logged.clone()))? {
                Ok(None) => "it is not there".to_owned(),
                // It may be there again soon.
                Err(error) => server_message(&error),
                Ok(Some(pool)) => match outcome(&pool) {
                    Outcome::Ready => break,
                    Outcome::Coming(why) => why,
                    Outcome::Stalled(why) => {
                        let name = name.to_owned();
                        return Err(ApplyPoolsError::Stalled { name, why });
                    }
                },
            };
            if why != logged {
                tracing::info!("RunnerPool {name} is not Ready: {why}");
                logged = why;
            }
            if Instant::now() >= until {
                return Err(not_ready(logged));
            }
            tokio::time::sleep(PAUSE).await;
        }
        println!("RunnerPool {name} Ready");
    }
    Ok(())
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
        let why = "Reconciling: why".to_owned();
        assert_eq!(outcome_of(2, &rolls), Outcome::Coming(why));
        assert!(matches!(outcome_of(2, &[]), Outcome::Coming(_)));
    }

    #[test]
    fn only_a_status_of_the_newest_spec_can_be_stalled() {
        let stalled = [("Ready", "False"), ("Stalled", "True")];
        let why = "Stalled: why".to_owned();
        assert_eq!(outcome_of(2, &stalled), Outcome::Stalled(why));
        assert!(matches!(outcome_of(1, &stalled), Outcome::Coming(_)));
    }
}
