//! Condition types of both resources, and the schema of a bounded list of conditions.
//!
//! They follow kstatus, by which Flux and Helm judge an object, and batch/v1. kstatus compares
//! `metadata.generation` with `status.observedGeneration` first: an object that differs is in progress. Then
//! the first of [`RECONCILING`] and [`STALLED`] that is True decides, so a list has one of them at most, and
//! then [`READY`]. An object with none of them is as it should be.

use crate::bounds::{MAX_CONDITIONS, MAX_MESSAGE_LENGTH, MAX_REASON_LENGTH};
use crate::clip;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use schemars::{Schema, SchemaGenerator, json_schema};

/// A pool accepts the job. The message of False says why not.
pub const ACCEPTED: &str = "Accepted";
/// Reason of [`ACCEPTED`] False while the job's namespace has too many finished jobs. The API accepts no
/// job for a namespace that has a job with this reason.
pub const TOO_MANY_FINISHED_JOBS: &str = "TooManyFinishedJobs";
/// Reason of [`ACCEPTED`] False while the job's namespace has as many unfinished jobs as it may have. The
/// API accepts no job for a namespace that has a job with this reason.
pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
/// A runner has been assigned to the job. The message of False says what the job waits for.
pub const SCHEDULED: &str = "Scheduled";
/// `spec.suspend` suspends the job, or it was restored and is held. False after it was resumed: the queue
/// deadline counts from that transition.
pub const SUSPENDED: &str = "Suspended";
/// Reason of [`SUSPENDED`] True of a job that was restored and is held.
pub const RESTORED: &str = "Restored";
/// The job has succeeded.
pub const COMPLETE: &str = "Complete";
/// The job has ended without success: it failed, or `spec.cancel` ended it, which the reason says.
pub const FAILED: &str = "Failed";

/// Work on the object is under way, or waits for something that the message names.
pub const RECONCILING: &str = "Reconciling";
/// The job has failed, or the pool does not get what its spec asks for: a person has to act.
pub const STALLED: &str = "Stalled";

/// `status.observedGeneration` of an object whose status nobody has written yet. It is the schema's default:
/// without one, kstatus takes a new object for a finished one.
pub const UNOBSERVED: i64 = -1;

/// At least one runner of the pool serves every model, or the pool is to have none.
pub const READY: &str = "Ready";
/// A change of the pool is being rolled out.
pub const PROGRESSING: &str = "Progressing";
/// A fault of the pool needs a person's attention. The message describes it.
pub const DEGRADED: &str = "Degraded";

/// All types that Fovea sets.
pub(crate) const TYPES: [&str; 10] = [
    ACCEPTED,
    SCHEDULED,
    SUSPENDED,
    COMPLETE,
    FAILED,
    RECONCILING,
    STALLED,
    READY,
    PROGRESSING,
    DEGRADED,
];

/// The condition of a type.
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// The condition of a type, if it is True.
pub fn get_true<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    get(conditions, type_).filter(|condition| condition.status == "True")
}

/// Removes the condition of a type.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// Sets a condition, clipped to the bounds of the schema. Its transition time moves only when its
/// status does. The list stays sorted by type.
///
/// It has no generation of its own: `kubectl wait` would compare that one instead of the status's, and so
/// wait for a condition that stays as it is after an edit of the spec.
pub fn set(
    conditions: &mut Vec<Condition>,
    (type_, status): (&str, &str),
    (reason, message): (&str, &str),
    now: Timestamp,
) {
    let before = get(conditions, type_).filter(|condition| condition.status == status);
    let since = before.map_or(Time(now), |condition| {
        condition.last_transition_time.clone()
    });
    remove(conditions, type_);
    conditions.push(clip::condition(Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: since,
        observed_generation: None,
    }));
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
}

/// Keeps [`MAX_CONDITIONS`] conditions, each within its bounds. Those of other controllers, which are kept
/// across writes, leave room for ours.
pub(crate) fn clipped(mut list: Vec<Condition>) -> Vec<Condition> {
    let is_ours = |condition: &Condition| TYPES.contains(&condition.type_.as_str());
    let ours = list.iter().filter(|each| is_ours(each)).count();
    let mut room = (MAX_CONDITIONS as usize).saturating_sub(ours);
    list.retain(|each| {
        let is_kept = is_ours(each) || room > 0;
        room -= usize::from(is_kept && !is_ours(each));
        is_kept
    });
    list.truncate(MAX_CONDITIONS as usize);
    list.into_iter().map(clip::condition).collect()
}

/// `metav1.Condition`s keyed by type, with bounds that Kubernetes' own schema lacks.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "description": "Type of the condition, in CamelCase.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_REASON_LENGTH,
                },
                "status": {
                    "description": "Status of the condition.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Machine-readable reason of the last transition, in CamelCase.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_REASON_LENGTH,
                    "pattern": crate::rules::REASON_PATTERN,
                },
                "message": {
                    "description": "Human-readable message about the last transition.",
                    "type": "string",
                    "maxLength": MAX_MESSAGE_LENGTH,
                },
                "lastTransitionTime": {
                    "description": "Last time the condition changed from one status to another.",
                    "type": "string",
                    "format": "date-time",
                },
                "observedGeneration": {
                    "description": "Generation of the spec that the condition was set from.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_time_moves_only_with_the_status() {
        let at = |seconds| Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let mut list = Vec::new();
        set(&mut list, (SCHEDULED, "False"), ("NoRunner", "a"), at(1));
        set(&mut list, (ACCEPTED, "True"), ("PoolFound", "b"), at(1));
        set(&mut list, (SCHEDULED, "False"), ("NoRunner", "c"), at(2));
        let scheduled =
            get(&list, SCHEDULED).map(|each| (&*each.message, each.last_transition_time.0));
        assert_eq!(scheduled, Some(("c", at(1))));
        set(&mut list, (SCHEDULED, "True"), ("RunnerFound", "d"), at(3));
        assert_eq!(
            get(&list, SCHEDULED).map(|each| each.last_transition_time.0),
            Some(at(3))
        );
        let types: Vec<&str> = list.iter().map(|each| each.type_.as_str()).collect();
        assert_eq!(types, [ACCEPTED, SCHEDULED]);
        assert_eq!(get(&list, COMPLETE), None);
    }

    #[test]
    fn conditions_of_other_controllers_leave_room_for_ours() {
        let types = |list: &[Condition]| -> Vec<String> {
            list.iter().map(|each| each.type_.clone()).collect()
        };
        let mut list = Vec::new();
        let foreign = (0..9).map(|each| format!("Foreign{each}"));
        for type_ in foreign.chain(["Ready".to_owned(), "Reconciling".to_owned()]) {
            set(
                &mut list,
                (&type_, "True"),
                ("R", ""),
                Timestamp::UNIX_EPOCH,
            );
        }
        let kept = types(&clipped(list));
        assert_eq!(kept.len(), MAX_CONDITIONS as usize);
        assert_eq!(kept[..2], ["Foreign0", "Foreign1"]);
        assert_eq!(kept[6..], ["Ready", "Reconciling"]);
    }
}
