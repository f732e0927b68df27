//! The state of a model's import. Pure.

use super::build::import_job::Import;
use super::message::Message;
use super::pods::{self, last_words, words};
use super::weights::is_commit;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use std::sync::Arc;

/// The state of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImportState {
    Absent,
    /// It runs; the error of its last failed pod, if one failed.
    Running(Option<Message>),
    /// It succeeded: the commit, while the pod that reports it exists.
    Done(Option<String>),
    /// It failed; another import begins later.
    Failed(Message),
}

/// Derives the state from the Job and its pods.
pub(crate) fn state(import: &Import, job: Option<&Job>, pods: &[Arc<Pod>]) -> ImportState {
    let Some(job) = job else {
        return ImportState::Absent;
    };
    let mut conditions = job
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ended = conditions
        .find(|each| each.status == "True" && matches!(each.type_.as_str(), "Complete" | "Failed"));
    let commit = pods
        .iter()
        .filter_map(|pod| terminated(pod))
        .find_map(|ended| {
            let commit = ended.message.as_deref()?.trim();
            (ended.exit_code == 0 && is_commit(commit)).then(|| commit.to_owned())
        });
    let what = format!("importing {}@{}", import.repo, import.revision);
    let fault = fault(&what, pods);
    match ended {
        Some(ended) if ended.type_ == "Complete" => ImportState::Done(commit),
        Some(ended) => ImportState::Failed(fault.unwrap_or_else(|| Message {
            reason: "ImportFailed",
            message: format!("{what}: {}", words(ended.message.as_deref())),
        })),
        // The Job's own end comes a moment after its pod's.
        None if commit.is_some() => ImportState::Done(commit),
        None => ImportState::Running(fault),
    }
}

fn fault(what: &str, pods: &[Arc<Pod>]) -> Option<Message> {
    let failed = pods
        .iter()
        .filter_map(|pod| terminated(pod))
        .filter(|ended| ended.exit_code != 0);
    let last = failed.max_by_key(|ended| ended.finished_at.as_ref().map(|time| time.0));
    let failed = |message: String| Message {
        reason: "ImportFailed",
        message: format!("{what}: {message}"),
    };
    if let Some(last) = last {
        let why = last_words(last.message.as_deref());
        return Some(failed(format!("{why} (exit code {})", last.exit_code)));
    }
    let waiting = pods::faults(None, pods, 1).into_iter().next()?;
    Some(Message {
        message: format!("{what}: {}", waiting.message),
        ..waiting
    })
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.terminated.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const COMMIT: &str = "82a37760796d32b1411fe092ab5d4e227313294b";

    fn job(condition: Option<&str>) -> Job {
        let conditions =
            condition.map(|kind| json!([{"type": kind, "status": "True", "message": "it is so"}]));
        serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
    }

    fn pod(state: &Value) -> Arc<Pod> {
        let status = json!({
            "name": "import", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        });
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "containerStatuses": [status]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn ended(code: i32, message: &str, time: &str) -> Arc<Pod> {
        pod(&json!({"terminated": {"exitCode": code, "message": message, "finishedAt": time}}))
    }

    fn of(job: Option<&Job>, pods: &[Arc<Pod>]) -> ImportState {
        let import = Import {
            repo: "o/n".into(),
            revision: "v1".into(),
            token_secret: None,
        };
        state(&import, job, pods)
    }

    #[test]
    fn the_commit_is_read_from_the_pod_that_succeeded() {
        assert_eq!(of(None, &[]), ImportState::Absent);
        let pods = [
            ended(1, "x", "2026-01-01T00:00:00Z"),
            ended(0, &format!("{COMMIT}\n"), "2026-01-01T00:01:00Z"),
        ];
        let done = ImportState::Done(Some(COMMIT.to_owned()));
        assert_eq!(of(Some(&job(Some("Complete"))), &pods), done);
        assert_eq!(of(Some(&job(None)), &pods), done);
        assert_eq!(
            of(Some(&job(Some("Complete"))), &[]),
            ImportState::Done(None)
        );
        let nonsense = ended(0, "models/../x", "2026-01-01T00:00:00Z");
        assert_eq!(
            of(Some(&job(Some("Complete"))), &[nonsense]),
            ImportState::Done(None)
        );
    }

    #[test]
    fn a_failed_pod_is_reported_while_the_job_runs_and_after_it_has_failed() {
        let log = "2026-01-01T00:00:00Z  INFO resolved\n2026-01-01T00:00:01Z ERROR the hub knows no revision v1 of o/n; check the name and --revision\n";
        let pods = [
            ended(1, "old", "2026-01-01T00:00:00Z"),
            ended(1, log, "2026-01-01T00:00:01Z"),
        ];
        let message = Message {
            reason: "ImportFailed",
            message: "importing o/n@v1: the hub knows no revision v1 of o/n; check the name and --revision (exit code 1)".into(),
        };
        assert_eq!(
            of(Some(&job(None)), &pods),
            ImportState::Running(Some(message.clone()))
        );
        assert_eq!(
            of(Some(&job(Some("Failed"))), &pods),
            ImportState::Failed(message)
        );
    }

    #[test]
    fn a_job_that_failed_without_a_pod_is_reported_in_its_own_words() {
        let ImportState::Failed(message) = of(Some(&job(Some("Failed"))), &[]) else {
            panic!()
        };
        assert_eq!(message.message, "importing o/n@v1: it is so");
    }

    #[test]
    fn a_pod_that_cannot_start_is_reported() {
        let waiting =
            pod(&json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}));
        let ImportState::Running(Some(message)) = of(Some(&job(None)), &[waiting]) else {
            panic!()
        };
        assert_eq!(message.reason, "ImagePullBackOff");
        assert!(
            message
                .message
                .starts_with("importing o/n@v1: pod p: image i cannot"),
            "{}",
            message.message
        );
        let starting = pod(&json!({"waiting": {"reason": "ContainerCreating"}}));
        assert_eq!(
            of(Some(&job(None)), &[starting]),
            ImportState::Running(None)
        );
    }
}
