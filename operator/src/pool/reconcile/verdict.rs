//! What tools see of a pool that follow kstatus, as Flux and Helm do: whether a change is under way, or the
//! pool does not get what its spec asks for. Pure.

use crate::pool::message::Message;
use crate::pool::validate::SPEC_REFUSED;
use crate::time::later;
use fovea_crds::RunnerPool;
use fovea_crds::conditions::{self, DEGRADED, RECONCILING, STALLED};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Reason of [`Progressing`](conditions::PROGRESSING) while runners are missing, also because the autoscaler
/// has just asked for more.
pub(super) const RUNNERS_STARTING: &str = "RunnersStarting";
/// Reasons of [`Ready`](conditions::READY) of a pool that is to have no runners.
pub(super) const WITHOUT_RUNNERS: [&str; 2] = ["ScaledToZero", "NoReplicas"];

/// A fault stands this long before the pool is stalled. Tools stop waiting then, and many faults of the
/// first minute go by themselves: a kubelet's retry, a Secret that is still being created.
const STALLED_AFTER: SignedDuration = SignedDuration::from_mins(2);
/// The same where no node has room: nodes may be on their way. As long as a Deployment has by default.
const WITHOUT_NODE_STALLED_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// The condition Reconciling or Stalled to set, which is True; at most one of them. `ready` and `why`: value
/// and reason of Ready. `conditions`: those of this generation so far, with the present Degraded.
pub(super) fn verdict(
    pool: &RunnerPool,
    (ready, why): (&str, &str),
    progressing: Option<&Message>,
    conditions: &[Condition],
    now: Timestamp,
) -> Option<(&'static str, String, String)> {
    let ready = ready == "True";
    // An autoscaled pool is what it should be with any number of runners.
    let scales = |message: &Message| {
        message.reason == RUNNERS_STARTING && ready && pool.spec.autoscaling.is_some()
    };
    let changes = progressing.filter(|message| !scales(message));
    let serves = ready && !WITHOUT_RUNNERS.contains(&why) && changes.is_none();
    let fault = is_true(conditions, DEGRADED).filter(|fault| {
        // Only an edit helps: the runners of the spec before may still serve.
        !serves || fault.reason == SPEC_REFUSED
    });
    if let Some(fault) = fault {
        let stalled = fault.reason == SPEC_REFUSED
            || is_true(conditions, STALLED).is_some()
            || is_true(conditions, RECONCILING)
                .is_some_and(|changing| stall_time(changing, fault) <= now);
        let type_ = if stalled { STALLED } else { RECONCILING };
        return Some((type_, fault.reason.clone(), fault.message.clone()));
    }
    let Message { reason, message } = changes?;
    Some((RECONCILING, (*reason).to_owned(), message.clone()))
}

/// When a pool with these conditions is stalled, if nothing changes until then.
pub(super) fn stalls_at(conditions: &[Condition]) -> Option<Timestamp> {
    let changing = is_true(conditions, RECONCILING)?;
    let fault = is_true(conditions, DEGRADED)?;
    (changing.reason == fault.reason).then(|| stall_time(changing, fault))
}

fn stall_time(changing: &Condition, fault: &Condition) -> Timestamp {
    let since = (changing.last_transition_time.0).max(fault.last_transition_time.0);
    let after = match fault.reason.as_str() {
        "Unschedulable" => WITHOUT_NODE_STALLED_AFTER,
        _ => STALLED_AFTER,
    };
    later(since, after)
}

fn is_true<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions::get(conditions, type_).filter(|condition| condition.status == "True")
}
