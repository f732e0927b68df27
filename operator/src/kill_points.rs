//! Points right after each kind of write, at which a test holds the operator and kills it. Without
//! the feature `failpoints` there are none. An Event and a swept object are not among them: nothing
//! that follows is decided by either.

/// Every point.
pub const ALL: [&str; 13] = [
    LEASE_CREATED,
    LEASE_TAKEN,
    LEASE_RENEWED,
    LEASE_RELEASED,
    POOL_TOLD,
    JOB_CONDITION,
    JOB_RUNNING,
    JOB_WAITING,
    RESULT_KEPT,
    JOB_SUCCEEDED,
    JOB_FAILED,
    CALLBACK_RECORDED,
    JOB_DELETED,
];

/// A first Lease is made.
pub const LEASE_CREATED: &str = "lease-created";
/// Another's Lease is taken.
pub const LEASE_TAKEN: &str = "lease-taken";
/// The Lease is renewed.
pub const LEASE_RENEWED: &str = "lease-renewed";
/// The Lease is handed over.
pub const LEASE_RELEASED: &str = "lease-released";
/// A pool's status is written.
pub const POOL_TOLD: &str = "pool-told";
/// A job's status says that it is accepted, held or suspended.
pub const JOB_CONDITION: &str = "job-condition";
/// A job's status says Running.
pub const JOB_RUNNING: &str = "job-running";
/// A job's status says when it is tried again.
pub const JOB_WAITING: &str = "job-waiting";
/// A large result lies in the bucket.
pub const RESULT_KEPT: &str = "result-kept";
/// A job's status says Succeeded.
pub const JOB_SUCCEEDED: &str = "job-succeeded";
/// A job's status says Failed or Cancelled.
pub const JOB_FAILED: &str = "job-failed";
/// A try of a callback is recorded.
pub const CALLBACK_RECORDED: &str = "callback-recorded";
/// A finished job is deleted.
pub const JOB_DELETED: &str = "job-deleted";

/// The loop goes round. No write, and so not among [`ALL`]: here a test makes it stand still.
pub const LOOP_TURNS: &str = "loop-turns";

/// What the point says has happened.
pub fn after(point: &'static str) {
    let _ = point; // The macro is empty without the feature.
    fail::fail_point!(point);
}

/// Which point follows the write of a job's status.
pub fn of_status(status: &fovea_crds::InferenceJobStatus) -> &'static str {
    use fovea_crds::Phase;
    match status.phase {
        Phase::Pending if status.next_attempt_time.is_some() => JOB_WAITING,
        Phase::Pending => JOB_CONDITION,
        Phase::Running => JOB_RUNNING,
        Phase::Succeeded => JOB_SUCCEEDED,
        Phase::Failed | Phase::Cancelled => JOB_FAILED,
    }
}
