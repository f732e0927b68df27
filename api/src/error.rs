//! Every error that a client can get, as RFC 9457 problem details.
//!
//! `detail` is shown to the client and states what to do; `cause` is only logged. The middleware adds
//! `instance`, writes the body and logs the cause once.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// How to authenticate (RFC 6750).
const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"fovea\"");

macro_rules! problem_types {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $kebab:literal, $title:literal;)*) => {
        /// The kinds of problem, each with one status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemType {
            $($(#[$doc])* $name,)*
            /// A status that none of the others explains: `about:blank`.
            Other(StatusCode),
        }

        impl ProblemType {
            /// Every named kind, without [`Self::Other`].
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The HTTP status of the answer.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* Self::Other(status) => status }
            }

            /// The identifier by which programs distinguish problems.
            pub fn uri(self) -> &'static str {
                match self { $(Self::$name => concat!("urn:fovea:problem:", $kebab),)* Self::Other(_) => "about:blank" }
            }

            /// A short summary, the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* Self::Other(status) => status.canonical_reason().unwrap_or("Error") }
            }
        }
    };
}

problem_types! {
    /// The request cannot be read: bad JSON, bad multipart, bad UTF-8, a bad header.
    MalformedRequest = BAD_REQUEST, "malformed-request", "The request cannot be read";
    /// No token, or not a valid one.
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "Authentication required";
    /// The user lacks the right for this request in this namespace.
    Forbidden = FORBIDDEN, "forbidden", "Permission denied";
    /// The cluster's own rules refuse the job.
    RefusedByCluster = FORBIDDEN, "refused-by-cluster", "The cluster refused the job";
    /// Nothing is served under this path.
    NoSuchRoute = NOT_FOUND, "no-such-route", "No such route";
    /// No job has this id, or it has been deleted.
    NoSuchJob = NOT_FOUND, "no-such-job", "Job not found";
    /// No namespace of this name; answered only to users with rights in it.
    NoSuchNamespace = NOT_FOUND, "no-such-namespace", "Namespace not found";
    /// The job's picture does not exist, or does not begin as a picture.
    NoSuchPicture = NOT_FOUND, "no-such-picture", "Picture not found";
    /// `continue` was not answered by this service for this list.
    InvalidContinue = BAD_REQUEST, "invalid-continue", "Invalid continue token";
    /// `continue` is too old.
    ContinueExpired = GONE, "continue-expired", "Continue token expired";
    /// A finished job cannot be cancelled.
    AlreadyFinished = CONFLICT, "already-finished", "The job has ended already";
    /// The job has not ended, or has ended without a result.
    NoResult = CONFLICT, "no-result", "The job has no result";
    /// The batch still runs.
    NotFinished = CONFLICT, "not-finished", "The batch has not ended";
    /// The namespace's folder in the bucket is an earlier namespace's.
    ForeignFolder = CONFLICT, "foreign-folder", "The folder belongs to an earlier namespace";
    /// The path exists, the method does not.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed";
    /// The body did not arrive in time.
    BodyTimeout = REQUEST_TIMEOUT, "body-timeout", "The body did not arrive in time";
    TooLarge = PAYLOAD_TOO_LARGE, "too-large", "The upload is too large";
    /// A longer path or query than allowed.
    UriTooLong = URI_TOO_LONG, "uri-too-long", "The path and query are too long";
    /// More or larger headers than allowed.
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "The headers are too large";
    TooManyPixels = PAYLOAD_TOO_LARGE, "too-many-pixels", "The picture has too many pixels";
    /// A body of a kind that is not read here.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported content type";
    /// The bytes are no manifest and no archive.
    NotABatch = UNSUPPORTED_MEDIA_TYPE, "not-a-batch", "The upload is neither a manifest nor an archive";
    /// The bytes are no picture that Fovea reads.
    NotAPicture = UNSUPPORTED_MEDIA_TYPE, "not-a-picture", "The upload is not a picture";
    /// A request without a picture.
    MissingPicture = UNPROCESSABLE_ENTITY, "missing-picture", "The request has no picture";
    /// An uploaded archive that is damaged, or holds what is not allowed.
    InvalidArchive = UNPROCESSABLE_ENTITY, "invalid-archive", "The archive is refused";
    /// No item of the batch can be done again.
    CannotRetry = UNPROCESSABLE_ENTITY, "cannot-retry", "The batch cannot be retried";
    /// A field that does not exist.
    UnknownField = UNPROCESSABLE_ENTITY, "unknown-field", "The request has an unknown field";
    DuplicateField = UNPROCESSABLE_ENTITY, "duplicate-field", "A field appears twice";
    /// A field whose value is not allowed.
    InvalidField = UNPROCESSABLE_ENTITY, "invalid-field", "A field has an invalid value";
    /// A picture given as a URL.
    RemoteUrl = UNPROCESSABLE_ENTITY, "remote-url", "Pictures are not fetched from URLs";
    /// The API server's validation rejects the job.
    RejectedByCluster = UNPROCESSABLE_ENTITY, "rejected-by-cluster", "The cluster's validation rejected the job";
    /// An Idempotency-Key used for another request before.
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The Idempotency-Key belongs to another request";
    /// The namespace's quota is used up.
    QuotaExceeded = TOO_MANY_REQUESTS, "quota-exceeded", "The namespace's quota is used up";
    /// The namespace starts no job until finished ones are deleted.
    TooManyFinishedJobs = TOO_MANY_REQUESTS, "too-many-finished-jobs", "The namespace has too many finished jobs";
    /// The namespace accepts no job until unfinished ones end.
    TooManyUnfinishedJobs = TOO_MANY_REQUESTS, "too-many-unfinished-jobs", "The namespace has too many unfinished jobs";
    /// More requests than allowed.
    RateLimited = TOO_MANY_REQUESTS, "rate-limited", "Too many requests";
    /// The user or the namespace has its share of a pool under way.
    TooManyAtOnce = TOO_MANY_REQUESTS, "too-many-at-once", "Too many requests under way";
    /// A defect of Fovea or of the installation.
    Internal = INTERNAL_SERVER_ERROR, "internal", "Internal server error";
    /// Requests hold as much memory as there is for them.
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "Too many bytes of requests at once";
    /// The limit on requests that wait for jobs is reached.
    TooManyWaiters = SERVICE_UNAVAILABLE, "too-many-waiters", "Too many requests are waiting for jobs";
    /// The limit on downloads is reached.
    TooManyDownloads = SERVICE_UNAVAILABLE, "too-many-downloads", "Too many downloads at once";
    /// The object store fails or does not answer.
    StoreUnavailable = SERVICE_UNAVAILABLE, "store-unavailable", "The object store is unavailable";
    /// The Kubernetes API server fails or does not answer.
    ClusterUnavailable = SERVICE_UNAVAILABLE, "cluster-unavailable", "The Kubernetes API server is unavailable";
    NotReady = SERVICE_UNAVAILABLE, "not-ready", "The service is not ready";
    /// It could not be determined whether the job exists.
    OutcomeUnknown = GATEWAY_TIMEOUT, "outcome-unknown", "It is unknown whether the job was created";
}

/// One occurrence of an error.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Determines the status, the `type` and the title.
    pub kind: ProblemType,
    /// The cause of this occurrence and what the client can do; shown to the client.
    pub detail: String,
    retry_after_seconds: Option<u32>,
    location: Option<String>,
    cause: Option<String>,
}

/// An error as RFC 9457 has it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Body<'a> {
    /// The type of problem: `urn:fovea:problem:...`, or `about:blank`.
    r#type: &'a str,
    /// A short summary of the type.
    title: &'a str,
    /// HTTP status, the same as the response's.
    status: u16,
    /// The cause of this occurrence and what to do.
    detail: &'a str,
    /// This occurrence, as `urn:fovea:request:` and the request's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
}

impl Problem {
    /// A problem; `detail` is shown to the client.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry_after_seconds: None,
            location: None,
            cause: None,
        }
    }

    /// A defect: `cause` is logged; the client sees only the request's id.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let detail = "the request failed; the cause is in the service's log: report the request id, which is this problem's `instance`";
        Self::new(ProblemType::Internal, detail).caused_by(cause)
    }

    /// No such job; also the answer if the client may not learn whether the job exists.
    pub fn no_such_job() -> Self {
        let detail = "no job has this id, or it has expired";
        Self::new(ProblemType::NoSuchJob, detail)
    }

    /// The problem for a layer's error response that has only a status.
    pub fn of_status(status: StatusCode) -> Self {
        Self::new(
            ProblemType::Other(status),
            "the request was refused before it was processed",
        )
    }

    /// Adds the cause, which is logged and not shown to the client.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds the header `Retry-After` to the answer.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Adds the header `Location` to the answer, with this path.
    #[must_use]
    pub fn located(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// The cause, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The answer; `instance` names this occurrence.
    pub fn render(&self, instance: Option<&str>) -> Response {
        let body = Body {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            instance,
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.kind.status(), json).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if self.kind == ProblemType::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, BEARER);
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(location) = self.location.as_deref()
            && let Ok(location) = HeaderValue::from_str(location)
        {
            headers.insert(LOCATION, location);
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render(None);
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_type_is_told_apart_by_its_uri_and_is_an_error() {
        let uris: HashSet<_> = ProblemType::ALL.iter().map(|kind| kind.uri()).collect();
        assert_eq!(uris.len(), ProblemType::ALL.len());
        for kind in ProblemType::ALL {
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
            let kebab = kind.uri().strip_prefix("urn:fovea:problem:").unwrap();
            assert!(
                kebab.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{kebab}"
            );
        }
    }

    #[tokio::test]
    async fn a_problem_shows_its_detail_and_hides_its_cause() {
        let problem = Problem::new(ProblemType::OutcomeUnknown, "look there")
            .located("/v1/jobs/a")
            .retry_after(3)
            .caused_by("secret");
        let response = problem.render(Some("urn:fovea:request:7"));
        assert_eq!(response.status(), 504);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[LOCATION], "/v1/jobs/a");
        assert_eq!(response.headers()[RETRY_AFTER], "3");
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:fovea:problem:outcome-unknown",
                "title": "It is unknown whether the job was created",
                "status": 504,
                "detail": "look there",
                "instance": "urn:fovea:request:7",
            })
        );
    }
}
