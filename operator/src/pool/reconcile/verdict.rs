//! Verdict for tools that follow kstatus (Flux, Helm): whether a change of the pool is under way, or the pool does
//! not get what its spec asks for. Pure.

use crate::pool::message::Message;
use crate::pool::validate::SPEC_REFUSED;
use crate::store_probe::LISTS_UNRELIABLE;
use crate::time::later;
use fovea_crds::RunnerPool;
use fovea_crds::conditions::{self, DEGRADED, PROGRESSING, READY, RECONCILING, STALLED};
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

/// Reason of a pool whose pods wait in a queue, such as Kueue's, for however long it takes.
const SCHEDULING_GATED: &str = "SchedulingGated";

/// The condition Reconciling or Stalled to set, which is True; at most one of them. `ready` and `why`: value
/// and reason of Ready. `conditions`: those of this generation so far, with the present Degraded and Ready.
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
    let fault = conditions::get_true(conditions, DEGRADED).filter(|fault| {
        // Only an edit helps: the runners of the spec before may still serve. Wrong lists keep no runner from
        // starting.
        fault.reason != LISTS_UNRELIABLE && (!serves || fault.reason == SPEC_REFUSED)
    });
    if fault.is_none()
        && let Some(Message { reason, message }) = changes
    {
        return Some((RECONCILING, (*reason).to_owned(), message.clone()));
    }
    let cause = fault.or_else(|| unready(conditions))?;
    let stalled = cause.reason == SPEC_REFUSED
        || conditions::get_true(conditions, STALLED).is_some()
        || conditions::get_true(conditions, RECONCILING)
            .is_some_and(|changing| stall_time(conditions, changing, cause) <= now);
    let type_ = if stalled && cause.reason != SCHEDULING_GATED {
        STALLED
    } else {
        RECONCILING
    };
    Some((type_, cause.reason.clone(), cause.message.clone()))
}

/// Lets the time of a fault begin once the pool's pods have left their queue. `conditions`: those so far, with
/// the present Degraded.
pub(super) fn leave_queue(conditions: &mut Vec<Condition>) {
    let has_reason = |type_| {
        conditions::get_true(conditions, type_)
            .is_some_and(|found| found.reason == SCHEDULING_GATED)
    };
    if has_reason(RECONCILING) && !has_reason(DEGRADED) {
        conditions::remove(conditions, RECONCILING);
    }
}

/// Ready, if it is False: no model is served, for whatever reason.
fn unready(conditions: &[Condition]) -> Option<&Condition> {
    conditions::get(conditions, READY).filter(|ready| ready.status == "False")
}

/// When a pool with these conditions is stalled, if nothing changes until then.
pub(super) fn stalls_at(conditions: &[Condition]) -> Option<Timestamp> {
    let changing = conditions::get_true(conditions, RECONCILING)?;
    let causes = [
        conditions::get_true(conditions, DEGRADED),
        unready(conditions),
    ];
    let mut causes = causes.into_iter().flatten();
    let cause = causes.find(|cause| cause.reason == changing.reason)?;
    (cause.reason != SCHEDULING_GATED).then(|| stall_time(conditions, changing, cause))
}

fn stall_time(conditions: &[Condition], changing: &Condition, cause: &Condition) -> Timestamp {
    // Runners may take long to start: what they do not serve counts from the end of the change.
    let settled = conditions::get(conditions, PROGRESSING).filter(|_| cause.type_ == READY);
    let causes = [Some(changing), Some(cause), settled];
    let times = causes.into_iter().flatten();
    let since = times.fold(Timestamp::MIN, |since, condition| {
        since.max(condition.last_transition_time.0)
    });
    let after = match cause.reason.as_str() {
        "Unschedulable" => WITHOUT_NODE_STALLED_AFTER,
        _ => STALLED_AFTER,
    };
    later(since, after)
}
