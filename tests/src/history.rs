//! Every version of every job, as a watch shows them, and whether they keep what the design says.

use crate::runner::Attempt;
use fovea_crds::{InferenceJob, InferenceJobStatus};
use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use tokio_util::task::AbortOnDropHandle;

/// An attempt may begin so long after the watch has shown that its job is cancelled or has ended.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

/// All versions so far; the watch ends with this value.
pub struct History {
    versions: Arc<Mutex<Versions>>,
    _watching: AbortOnDropHandle<()>,
}

/// The versions of each job, by its uid.
type Versions = BTreeMap<String, Vec<Version>>;

/// A version of a job, and its arrival.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "the name is for whoever reads a fault")]
struct Version {
    seen: Timestamp,
    name: String,
    cancel: bool,
    status: InferenceJobStatus,
}

impl History {
    pub fn start(client: Client) -> Self {
        let versions: Arc<Mutex<Versions>> = Arc::default();
        let kept = Arc::clone(&versions);
        let watching = tokio::spawn(async move {
            let jobs: Api<InferenceJob> = Api::all(client);
            let events = watcher(jobs, watcher::Config::default()).default_backoff();
            let mut seen = pin!(events.applied_objects());
            loop {
                match seen.try_next().await {
                    Ok(None) => return,
                    Ok(Some(job)) => {
                        let uid = job.uid().unwrap_or_default();
                        let mut kept = kept.lock().expect("not poisoned");
                        kept.entry(uid).or_default().push(Version::of(job));
                    }
                    // It continues: a test may have stopped the API server.
                    Err(error) => eprintln!("the history's watch: {error}"),
                }
            }
        });
        Self {
            versions,
            _watching: AbortOnDropHandle::new(watching),
        }
    }

    /// Violations of the design, one per line; `attempts` are those of all runners.
    pub fn faults(&self, attempts: &[Attempt]) -> Vec<String> {
        let versions = self.versions.lock().expect("not poisoned");
        let of_versions = versions.values().flat_map(|versions| changes(versions));
        let of_attempts = versions.iter().flat_map(|(uid, versions)| {
            let mut of_job: Vec<&Attempt> =
                attempts.iter().filter(|each| each.job == *uid).collect();
            of_job.sort_by_key(|attempt| attempt.began);
            runs(versions, &of_job)
        });
        of_versions.chain(of_attempts).collect()
    }
}

impl Version {
    fn of(job: InferenceJob) -> Self {
        Self {
            seen: Timestamp::now(),
            name: job.name_any(),
            cancel: job.spec.cancel,
            status: job.status.unwrap_or_default(),
        }
    }

    fn is_terminal(&self) -> bool {
        self.status.phase.is_terminal()
    }
}

/// A terminal status never changes, and no count decreases.
fn changes(versions: &[Version]) -> Vec<String> {
    let mut faults = Vec::new();
    for pair in versions.windows(2) {
        let [before, after] = pair else { continue };
        let end = |version: &Version| {
            let status = version.status.clone();
            (
                status.phase,
                status.result,
                status.failure,
                status.completion_time,
                status.attempts,
            )
        };
        if before.is_terminal() && end(before) != end(after) {
            faults.push(format!("an end changed: {before:?} became {after:?}"));
        }
        let (old, new) = (&before.status, &after.status);
        if let Some(before) = &old.callback {
            let now = new.callback.clone().unwrap_or_default();
            if now.attempts < before.attempts || (before.delivered && now != *before) {
                faults.push(format!("a callback went back: {before:?} became {after:?}"));
            }
        }
        if new.attempts < old.attempts || new.interruptions < old.interruptions {
            faults.push(format!("a count went back: {before:?} became {after:?}"));
        }
    }
    faults
}

/// No attempt begins after the end or the cancel, or beside another of the same leader.
fn runs(versions: &[Version], attempts: &[&Attempt]) -> Vec<String> {
    let mut faults = Vec::new();
    let over = versions
        .iter()
        .find(|version| version.is_terminal() || version.cancel);
    if let Some(over) = over {
        let late = attempts
            .iter()
            .filter(|each| each.began > over.seen + SLACK);
        faults.extend(late.map(|late| format!("{late:?} began after {over:?}")));
    }
    for pair in attempts.windows(2) {
        let [first, second] = pair else { continue };
        let beside = first.ended.is_none_or(|ended| ended > second.began);
        if beside && first.epoch == second.epoch && first.instance == second.instance {
            faults.push(format!("{second:?} began beside {first:?}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::{CallbackStatus, Phase};

    fn version(second: i64, phase: Phase, attempts: u32) -> Version {
        Version {
            seen: Timestamp::from_second(second).unwrap(),
            name: "job".to_owned(),
            cancel: false,
            status: InferenceJobStatus {
                phase,
                attempts,
                ..InferenceJobStatus::default()
            },
        }
    }

    fn attempt(began: i64, ended: i64, epoch: u64) -> Attempt {
        Attempt {
            job: "u".to_owned(),
            attempt: 1,
            epoch,
            instance: "i".to_owned(),
            traceparent: None,
            url: None,
            began: Timestamp::from_second(began).unwrap(),
            ended: Some(Timestamp::from_second(ended).unwrap()),
            answered: true,
        }
    }

    #[test]
    fn a_plain_life_has_no_fault() {
        let life = [
            version(0, Phase::Pending, 0),
            version(2, Phase::Running, 0),
            version(3, Phase::Succeeded, 1),
        ];
        assert_eq!(changes(&life), Vec::<String>::new());
        assert_eq!(runs(&life, &[&attempt(1, 3, 0)]), Vec::<String>::new());
    }

    #[test]
    fn a_second_end_and_a_decreasing_count_are_faults() {
        let ended_twice = [
            version(0, Phase::Succeeded, 1),
            version(1, Phase::Failed, 1),
        ];
        assert_eq!(changes(&ended_twice).len(), 1);
        let went_back = [version(0, Phase::Pending, 2), version(1, Phase::Pending, 1)];
        assert_eq!(changes(&went_back).len(), 1);
    }

    #[test]
    fn a_callback_that_regresses_is_a_fault() {
        let callback = |delivered, attempts| Version {
            status: InferenceJobStatus {
                callback: Some(CallbackStatus {
                    delivered,
                    attempts,
                    ..CallbackStatus::default()
                }),
                ..version(0, Phase::Succeeded, 1).status
            },
            ..version(0, Phase::Succeeded, 1)
        };
        let without_callback = version(0, Phase::Succeeded, 1);
        let life = [without_callback, callback(false, 1), callback(true, 2)];
        assert_eq!(changes(&life), Vec::<String>::new());
        assert_eq!(changes(&[callback(true, 2), callback(true, 3)]).len(), 1);
        assert_eq!(changes(&[callback(false, 2), callback(false, 1)]).len(), 1);
    }

    #[test]
    fn an_attempt_after_the_end_or_beside_another_is_a_fault() {
        let life = [version(5, Phase::Succeeded, 1)];
        assert_eq!(runs(&life, &[&attempt(7, 8, 0)]).len(), 1);
        let (first, second) = (attempt(0, 4, 0), attempt(1, 3, 0));
        assert_eq!(runs(&life, &[&first, &second]).len(), 1);
        let of_next_leader = attempt(1, 3, 1);
        assert!(runs(&life, &[&first, &of_next_leader]).is_empty());
    }
}
