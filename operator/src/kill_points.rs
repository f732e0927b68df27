//! Failpoints after each kind of write, at which a test stops the operator and kills it. They exist only
//! with the feature `failpoints`. Events and swept objects have none: no decision depends on them.

/// Every failpoint that follows a write.
pub const ALL: [&str; 18] = [
    LEASE_CREATED,
    LEASE_TAKEN,
    LEASE_RENEWED,
    LEASE_RELEASED,
    POOL_STATUS,
    JOB_CONDITION,
    JOB_RUNNING,
    JOB_WAITING,
    RESULT_STORED,
    JOB_SUCCEEDED,
    JOB_FAILED,
    CALLBACK_RECORDED,
    JOB_DELETED,
    BATCH_ITEMS_WRITTEN,
    BATCH_PLANNED,
    BATCH_PART_WRITTEN,
    BATCH_PART_COPIED,
    BATCH_SUCCESS_WRITTEN,
];

/// The Lease was created.
pub const LEASE_CREATED: &str = "lease-created";
/// The Lease was taken over from another holder.
pub const LEASE_TAKEN: &str = "lease-taken";
/// The Lease was renewed.
pub const LEASE_RENEWED: &str = "lease-renewed";
/// The Lease was released.
pub const LEASE_RELEASED: &str = "lease-released";
/// A pool's status was written.
pub const POOL_STATUS: &str = "pool-status";
/// A job's conditions Accepted or Suspended were written.
pub const JOB_CONDITION: &str = "job-condition";
/// A job's phase Running was written.
pub const JOB_RUNNING: &str = "job-running";
/// The time of a job's next attempt was written.
pub const JOB_WAITING: &str = "job-waiting";
/// A large result was stored in the bucket.
pub const RESULT_STORED: &str = "result-stored";
/// A job's phase Succeeded was written.
pub const JOB_SUCCEEDED: &str = "job-succeeded";
/// A job's phase Failed or Cancelled was written.
pub const JOB_FAILED: &str = "job-failed";
/// An attempt at a callback was recorded.
pub const CALLBACK_RECORDED: &str = "callback-recorded";
/// A finished job was deleted.
pub const JOB_DELETED: &str = "job-deleted";

/// A batch's items were written, without the plan that commits them.
pub const BATCH_ITEMS_WRITTEN: &str = "batch-items-written";
/// A batch's plan was committed.
pub const BATCH_PLANNED: &str = "batch-planned";
/// A runner wrote a part of a batch, and nobody knows of it yet.
pub const BATCH_PART_WRITTEN: &str = "batch-part-written";
/// A part of a batch was copied to the output.
pub const BATCH_PART_COPIED: &str = "batch-part-copied";
/// `_SUCCESS.json` was written, and the status was not.
pub const BATCH_SUCCESS_WRITTEN: &str = "batch-success-written";

/// Each turn of the loop, at which a test can block it. It follows no write, so it is not in [`ALL`].
pub const LOOP_TURNS: &str = "loop-turns";

/// Runs the action that a test has set for the failpoint.
pub fn after(point: &'static str) {
    let _ = point; // The macro is empty without the feature.
    fail::fail_point!(point);
}

/// The failpoint that follows the write of `status`.
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
