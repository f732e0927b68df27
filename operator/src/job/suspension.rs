//! What keeps a job from starting: `spec.suspend`, or that it was created again from a copy. Pure.

use crate::time::later;
use fovea_crds::{InferenceJob, RestoreMark, conditions};
use jiff::{SignedDuration, Timestamp};

/// For this long a new job that is held as a restored one gets no status. The tool that restores it may be about to
/// write the status that it had, and may refuse to do so if there is one already.
const LEFT_TO_THE_TOOL: SignedDuration = SignedDuration::from_secs(5);

/// Flags and environment of restores.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Restores")]
pub struct RestoreConfig {
    /// Hold the unfinished jobs that were created before this time, such as 2026-12-01T08:00:00Z: no attempt of
    /// them starts until their annotation fovea.dev/restored is `run`, or this flag is gone. For a cluster whose
    /// jobs were restored by a tool that does not mark them. Default: none are held.
    #[arg(long, env = "FOVEA_OPERATOR_HOLD_JOBS_CREATED_BEFORE")]
    pub hold_jobs_created_before: Option<Timestamp>,
}

/// Why no attempt of a job starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspension {
    /// `spec.suspend`.
    Spec,
    /// The annotation of a restore.
    Annotation,
    /// Velero's label.
    Velero,
    /// It is older than [`RestoreConfig::hold_jobs_created_before`].
    Age,
}

impl Suspension {
    /// Why no attempt of `job` starts; `None` if it may run.
    pub(crate) fn of(job: &InferenceJob, config: RestoreConfig) -> Option<Self> {
        if job.spec.suspend {
            return Some(Self::Spec);
        }
        match job.restore_mark() {
            Some(RestoreMark::Annotation) => Some(Self::Annotation),
            Some(RestoreMark::Velero) => Some(Self::Velero),
            None => {
                let before = config.hold_jobs_created_before?;
                (job.created() < before && !job.is_released()).then_some(Self::Age)
            }
        }
    }

    /// Whether a restore is the reason, and not the job's spec.
    pub(crate) fn is_restore(self) -> bool {
        self != Self::Spec
    }

    /// Reason of the condition `Suspended`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Spec => "Suspended",
            Self::Annotation | Self::Velero | Self::Age => conditions::RESTORED,
        }
    }

    /// Message of the condition `Suspended`.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Spec => "spec.suspend is true: no attempt starts",
            Self::Annotation => {
                "the annotation fovea.dev/restored holds the job: no attempt starts until it is `run` or removed"
            }
            Self::Velero => {
                "Velero has restored the job: no attempt starts until its annotation fovea.dev/restored is `run`"
            }
            Self::Age => {
                "the job is older than the operator's --hold-jobs-created-before: no attempt starts until its annotation fovea.dev/restored is `run`"
            }
        }
    }

    /// Time before which the condition is not written.
    pub(crate) fn shown_from(self, job: &InferenceJob) -> Timestamp {
        match self {
            Self::Annotation | Self::Velero | Self::Age if job.status.is_none() => {
                later(job.created(), LEFT_TO_THE_TOOL)
            }
            _ => Timestamp::MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, at};
    use fovea_crds::InferenceJobStatus;
    use fovea_crds::{annotations, labels};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    const NONE: RestoreConfig = RestoreConfig {
        hold_jobs_created_before: None,
    };

    fn job(created: i64) -> InferenceJob {
        let mut job = fixtures::job();
        job.metadata.creation_timestamp = Some(Time(at(created)));
        job
    }

    fn annotated(mut job: InferenceJob, value: &str) -> InferenceJob {
        job.metadata.annotations = Some([(annotations::RESTORED.into(), value.into())].into());
        job
    }

    #[test]
    fn a_job_older_than_the_given_time_is_held_until_its_annotation_is_run() {
        let before = RestoreConfig {
            hold_jobs_created_before: Some(at(100)),
        };
        assert_eq!(Suspension::of(&job(99), NONE), None);
        assert_eq!(Suspension::of(&job(99), before), Some(Suspension::Age));
        assert_eq!(Suspension::of(&job(100), before), None);
        assert_eq!(Suspension::of(&annotated(job(99), "run"), before), None);
        let hold = Suspension::of(&annotated(job(100), "hold"), before);
        assert_eq!(hold, Some(Suspension::Annotation));
        let mut suspended = annotated(job(99), "hold");
        suspended.spec.suspend = true;
        assert_eq!(Suspension::of(&suspended, before), Some(Suspension::Spec));
    }

    #[test]
    fn what_holds_a_job_is_kept_when_it_is_reduced() {
        let mut velero = job(0);
        velero.metadata.labels = Some([(labels::VELERO_RESTORE.into(), "a".into())].into());
        let before = RestoreConfig {
            hold_jobs_created_before: Some(at(100)),
        };
        let run = annotated(velero.clone(), "run");
        for job in [velero, run, annotated(job(0), "hold"), job(0)] {
            let reduced = crate::job::reduced(&job);
            assert_eq!(
                Suspension::of(&reduced, before),
                Suspension::of(&job, before)
            );
        }
    }

    #[test]
    fn a_tool_has_time_to_write_the_status_that_the_job_had() {
        let mut new = job(0);
        assert_eq!(Suspension::Velero.shown_from(&new), at(5));
        assert!(Suspension::Spec.shown_from(&new) < at(0));
        new.status = Some(InferenceJobStatus::default());
        assert!(Suspension::Velero.shown_from(&new) < at(0));
    }
}
