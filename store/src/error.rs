//! Errors of the object store. Each message states what the administrator can do.

use crate::not_s3::Answer;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// A failed request to the object store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No object has this key.
    #[error("there is no object {key:?} in the bucket")]
    NotFound {
        /// Key that the request named.
        key: String,
    },
    /// The bucket does not exist.
    #[error("the bucket {bucket:?} does not exist: create it, or set --s3-bucket")]
    NoBucket {
        /// Bucket that the request named.
        bucket: String,
    },
    /// The store rejects the credentials themselves.
    #[error(
        "the object store refuses our credentials ({code}): check the access key and its secret"
    )]
    WrongCredentials {
        /// S3's error code, such as `InvalidAccessKeyId`.
        code: String,
    },
    /// The credentials are valid but do not permit the request.
    #[error(
        "the object store denies our access key this request ({code}): check its policy for the bucket {bucket:?}"
    )]
    Denied {
        /// S3's error code, such as `AccessDenied`.
        code: String,
        /// Bucket that the request named.
        bucket: String,
    },
    /// The clocks differ by more than the 15 minutes that S3 allows.
    #[error("the object store's clock and ours are too far apart: check the time on both machines")]
    ClockSkew,
    /// The SDK's credential chain found none.
    #[error(
        "no credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod a web identity or its node an instance role: {0}"
    )]
    NoCredentials(String),
    /// The object exceeds the reader's limit.
    #[error("the object {key:?} is larger than {limit} bytes")]
    TooLarge {
        /// Key that the request named.
        key: String,
        /// The reader's limit, in bytes.
        limit: u64,
    },
    /// A flag of the store has an unusable value.
    #[error("the object store's configuration is wrong: {0}")]
    Config(String),
    /// The store rejects the request, and would reject it again.
    #[error("the object store rejects the request: {0}")]
    Rejected(String),
    /// The store throttled every attempt.
    #[error("the object store asks for fewer requests ({code}), and did so at every try")]
    SlowDown {
        /// S3's error code, such as `SlowDown`.
        code: String,
    },
    /// Every attempt ended without an answer in time.
    #[error(
        "the object store did not answer in time, at none of its tries: check --s3-endpoint and the store's load; --s3-attempt-timeout-ms is how long a try may take"
    )]
    TimedOut,
    /// Every attempt failed to connect.
    #[error("the object store cannot be reached: check --s3-endpoint and --s3-ca-file: {0}")]
    Unreachable(String),
    /// Every attempt got an unusable answer.
    #[error("the object store does not answer as it should: {0}")]
    Unavailable(String),
    /// What answers is another server, such as a web page's login.
    #[error(
        "what answers in place of the object store is no S3 ({0}): check --s3-endpoint, and what stands between it and us"
    )]
    NotS3(String),
    /// A list contradicts itself or the request.
    #[error("the object store's lists cannot be relied on: {0}")]
    List(String),
    /// At none of the tries an object came as a whole.
    #[error("reading {key:?} from the object store breaks off: {why}")]
    Broken {
        /// Key that the request named.
        key: String,
        /// Where it breaks off, and why.
        why: String,
    },
}

impl StoreError {
    /// Whether the store answers, but will not take this request until somebody changes the bucket,
    /// our rights or our configuration. Otherwise the same request may succeed later.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::NoBucket { .. }
            | Self::WrongCredentials { .. }
            | Self::Denied { .. }
            | Self::ClockSkew
            | Self::TooLarge { .. }
            | Self::Config(_)
            | Self::Rejected(_) => true,
            Self::NoCredentials(_)
            | Self::SlowDown { .. }
            | Self::TimedOut
            | Self::Unreachable(_)
            | Self::Unavailable(_)
            | Self::NotS3(_)
            | Self::List(_)
            | Self::Broken { .. } => false,
        }
    }

    pub(crate) fn from_sdk<E>(error: &SdkError<E>, bucket: &str, key: &str) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let answer = error.raw_response().map(|response| Answer {
            status: response.status().as_u16(),
            code: error.code(),
            content_type: response.headers().get("content-type"),
            location: response.headers().get("location"),
            body: response.body().bytes(),
        });
        if let Some(not_s3) = answer.and_then(|answer| answer.error()) {
            return not_s3;
        }
        match status {
            Some(status) => {
                Self::answered(status, error.code(), bucket, key).unwrap_or_else(|| {
                    let reason = [error.code(), error.message()].into_iter().flatten();
                    let reason = reason.collect::<Vec<_>>().join(": ");
                    Self::other(status, error.code(), format!("{status} {reason}"))
                })
            }
            None => Self::unanswered(error),
        }
    }

    /// Classifies an answer by S3's error code, or by its status where it has no code (HEAD).
    fn answered(status: u16, code: Option<&str>, bucket: &str, key: &str) -> Option<Self> {
        let bucket = bucket.to_owned();
        let code_or = |default: &str| code.unwrap_or(default).to_owned();
        Some(match (code, status) {
            (Some("NoSuchBucket"), _) => Self::NoBucket { bucket },
            (Some("NoSuchKey"), _) => Self::NotFound {
                key: key.to_owned(),
            },
            (Some("RequestTimeTooSkewed"), _) => Self::ClockSkew,
            (
                Some(
                    "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch"
                    | "InvalidToken"
                    | "ExpiredToken"
                    | "TokenRefreshRequired"
                    | "AuthorizationHeaderMalformed",
                ),
                _,
            )
            | (_, 401) => Self::WrongCredentials {
                code: code_or("Unauthorized"),
            },
            (Some("SlowDown" | "SlowDownRead" | "SlowDownWrite" | "Throttling"), _) | (_, 429) => {
                Self::SlowDown {
                    code: code_or("TooManyRequests"),
                }
            }
            (_, 403) => Self::Denied {
                code: code_or("Forbidden"),
                bucket,
            },
            // Without a code: whatever was requested is missing.
            (_, 404) if key.is_empty() => Self::NoBucket { bucket },
            (_, 404) => Self::NotFound {
                key: key.to_owned(),
            },
            _ => return None,
        })
    }

    /// Classifies an answer without a variant of its own.
    fn other(status: u16, code: Option<&str>, answer: String) -> Self {
        // S3 answers 400 to a body that arrives too slowly, and 409 to a conflict with another
        // request.
        let temporary = matches!(status, 408 | 409 | 425) || code == Some("RequestTimeout");
        // 501: the store does not know the request, or a condition in it.
        if ((300..500).contains(&status) && !temporary) || status == 501 {
            Self::Rejected(answer)
        } else {
            Self::Unavailable(answer)
        }
    }

    fn unanswered<E: std::error::Error + 'static>(error: &SdkError<E>) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if error.is::<CredentialsError>() {
                return Self::NoCredentials(innermost(error));
            }
            cause = error.source();
        }
        match error {
            SdkError::TimeoutError(_) => Self::TimedOut,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::TimedOut,
            SdkError::DispatchFailure(failure) if failure.is_io() => {
                Self::Unreachable(innermost(error))
            }
            _ => Self::Unavailable(DisplayErrorContext(error).to_string()),
        }
    }
}

/// The root cause, which is more specific than the errors that wrap it.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_s_code_takes_precedence_over_its_status() {
        let text = |status, code, key| {
            StoreError::answered(status, code, "b", key).map(|error| error.to_string())
        };
        for (status, code, key, part) in [
            (
                404,
                Some("NoSuchBucket"),
                "k",
                "bucket \"b\" does not exist",
            ),
            (404, None, "", "bucket \"b\" does not exist"),
            (404, Some("NoSuchKey"), "k", "no object \"k\""),
            (404, None, "k", "no object \"k\""),
            (403, Some("RequestTimeTooSkewed"), "k", "clock"),
            (
                403,
                Some("InvalidAccessKeyId"),
                "k",
                "check the access key and its secret",
            ),
            (
                403,
                Some("SignatureDoesNotMatch"),
                "k",
                "check the access key and its secret",
            ),
            (
                400,
                Some("ExpiredToken"),
                "k",
                "check the access key and its secret",
            ),
            (401, None, "k", "check the access key and its secret"),
            (403, Some("AccessDenied"), "k", "check its policy"),
            (403, None, "k", "check its policy"),
            (503, Some("SlowDown"), "k", "fewer requests"),
            (429, None, "k", "fewer requests"),
        ] {
            let text = text(status, code, key).unwrap_or_default();
            assert!(text.contains(part), "{status} {code:?}: {text}");
        }
        assert_eq!(text(500, Some("InternalError"), "k"), None);
        assert_eq!(text(503, None, "k"), None);
    }

    #[test]
    fn only_an_answer_that_time_does_not_change_is_a_refusal() {
        let is_refusal = |status, code| {
            StoreError::answered(status, code, "b", "k")
                .unwrap_or_else(|| StoreError::other(status, code, String::new()))
                .is_refusal()
        };
        for (status, code) in [
            (404, Some("NoSuchBucket")),
            (403, Some("AccessDenied")),
            (403, Some("InvalidAccessKeyId")),
            (400, Some("XMinioAdminBucketQuotaExceeded")),
            (301, Some("PermanentRedirect")),
            (501, Some("NotImplemented")),
        ] {
            assert!(is_refusal(status, code), "{status} {code:?}");
        }
        for (status, code) in [
            (503, Some("SlowDown")),
            (507, Some("XMinioStorageFull")),
            (500, None),
            (400, Some("RequestTimeout")),
            (409, Some("OperationAborted")),
        ] {
            assert!(!is_refusal(status, code), "{status} {code:?}");
        }
        assert!(!StoreError::TimedOut.is_refusal());
    }
}
