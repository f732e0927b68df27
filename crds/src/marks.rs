//! Labels and annotations that Fovea's programs write or read. The API writes most of those of jobs; tools that restore
//! jobs, and people, write the others.

/// Keys and values of a job's labels.
pub mod labels {
    /// Program that created the job.
    pub const CREATED_BY: &str = "fovea.dev/created-by";
    /// Value of [`CREATED_BY`] on jobs that the API created. Only these may be deleted early when
    /// there are too many finished jobs.
    pub const API: &str = "api";
    /// Compatible service whose routes received the job: `async-vision` or `image-analysis`.
    pub const CLIENT: &str = "fovea.dev/client";
    /// Name of the restore, on every object that Velero has restored.
    pub const VELERO_RESTORE: &str = "velero.io/restore-name";
}

/// Keys of a job's annotations.
pub mod annotations {
    /// SHA-256 of the request, which distinguishes a repeated request from a different one with the
    /// same name.
    pub const FINGERPRINT: &str = "fovea.dev/request-fingerprint";
    /// User who submitted the job over HTTP, at most [`SUBMITTED_BY_BYTES`] long. Informational: everyone
    /// who may write jobs may write it, too.
    pub const SUBMITTED_BY: &str = "fovea.dev/submitted-by";
    /// Bound on [`SUBMITTED_BY`]; a longer name is cut.
    pub const SUBMITTED_BY_BYTES: usize = 256;
    /// Trace of the request as a W3C `traceparent`, which the operator and the runner continue.
    pub const TRACEPARENT: &str = "fovea.dev/traceparent";
    /// Of a Namespace: the maximum number of its unfinished jobs, in place of the operator's
    /// `--max-unfinished-jobs-per-namespace`.
    pub const MAX_UNFINISHED_JOBS: &str = "fovea.dev/max-unfinished-jobs";
    /// Marks a job that was created again from a copy: no attempt starts unless the value is [`RESTORED_RUN`].
    /// Documented is `hold`.
    pub const RESTORED: &str = "fovea.dev/restored";
    /// Value of [`RESTORED`] that lets the job run.
    pub const RESTORED_RUN: &str = "run";
    /// Marks an object that only reserves its name after a create whose answer was lost. The client
    /// received an error, so the job must not run.
    pub const TOMBSTONE: &str = "fovea.dev/tombstone";
}
