//! Labels and annotations of a job: the API writes them, and the operator reads two of them.

/// Labels of jobs that the API creates.
pub mod labels {
    /// Creator of the job.
    pub const CREATED_BY: &str = "fovea.dev/created-by";
    /// The value of [`CREATED_BY`] on every job made by it: such jobs are the first to go where
    /// finished jobs are too many.
    pub const API: &str = "api";
    /// Replaced service whose routes created the job: `async-vision` or `image-analysis`.
    pub const CLIENT: &str = "fovea.dev/client";
}

/// Annotations of jobs that the API creates.
pub mod annotations {
    /// SHA-256 of the request, by which a repeated request is recognised.
    pub const FINGERPRINT: &str = "fovea.dev/request-fingerprint";
    /// The request's trace, as a W3C `traceparent`: operator and runner join it.
    pub const TRACEPARENT: &str = "fovea.dev/traceparent";
    /// On an object that only bars its name, for a create whose answer was lost: the request was
    /// answered with an error and must not run.
    pub const TOMBSTONE: &str = "fovea.dev/tombstone";
}
