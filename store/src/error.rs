//! Errors of the object store. Each message states what the administrator can do.

use crate::not_s3::Answer;
use crate::refusal::{REGION_HEADER, Refusal};
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
    #[error(
        "the bucket {bucket:?} does not exist: create it, or set --s3-bucket; a store that looks for another name needs the other --s3-path-style"
    )]
    NoBucket {
        /// Bucket that the request named.
        bucket: String,
    },
    /// The store rejects the credentials themselves.
    #[error("the object store refuses our credentials ({answer}): {advice}")]
    WrongCredentials {
        /// S3's error code, such as `InvalidAccessKeyId`, and its message.
        answer: String,
        /// What to check.
        advice: &'static str,
    },
    /// The credentials are valid but do not permit the request.
    #[error(
        "the object store denies our access key this request ({answer}): check its policy for the bucket {bucket:?}"
    )]
    Denied {
        /// S3's error code, such as `AccessDenied`, and its message.
        answer: String,
        /// Bucket that the request named.
        bucket: String,
    },
    /// The clocks differ by more than the 15 minutes that S3 allows, and the store does not tell its time.
    #[error(
        "the object store's clock and ours are too far apart ({answer}): check the time on both machines"
    )]
    ClockSkew {
        /// S3's error code and its message.
        answer: String,
    },
    /// The bucket is in another region than requests are signed for.
    #[error(
        "the bucket is in {}, not in that of --s3-region ({answer}): set --s3-region (objectStore.region){}, and --s3-endpoint, if it names a region, to the same",
        region.as_ref().map_or("another region".to_owned(), |name| format!("the region {name:?}")),
        region.as_ref().map_or(String::new(), |name| format!(" to {name}"))
    )]
    WrongRegion {
        /// The bucket's region, if the store says it.
        region: Option<String>,
        /// S3's error code and its message.
        answer: String,
    },
    /// The store answers with a redirect that names no region.
    #[error(
        "the object store redirects ({answer}){}: set --s3-endpoint (objectStore.endpoint) to the address that answers S3 itself",
        location.as_ref().map_or(String::new(), |url| format!(" to {url}"))
    )]
    Redirected {
        /// The answer's status, or S3's error code and its message.
        answer: String,
        /// Where to, without a query.
        location: Option<String>,
    },
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
            | Self::ClockSkew { .. }
            | Self::WrongRegion { .. }
            | Self::Redirected { .. }
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
        // A proxy's refusal may be a page, and AWS redirects a HEAD without a code: the region says where to.
        let answer = error.raw_response().filter(|response| {
            response.status().as_u16() != 407 && response.headers().get(REGION_HEADER).is_none()
        });
        let answer = answer.map(|response| Answer {
            status: response.status().as_u16(),
            code: error.code(),
            content_type: response.headers().get("content-type"),
            location: response.headers().get("location"),
            body: response.body().bytes(),
        });
        if let Some(not_s3) = answer.and_then(|answer| answer.error()) {
            return not_s3;
        }
        match error.raw_response() {
            Some(response) => {
                let refusal = Refusal::of(response, error.code(), error.message());
                Self::answered(&refusal, bucket, key).unwrap_or_else(|| Self::other(&refusal))
            }
            None => Self::unanswered(error),
        }
    }

    pub(crate) fn no_credentials(error: &CredentialsError) -> Self {
        Self::NoCredentials(innermost(error))
    }

    /// Classifies an answer by S3's error code, or by its status where it has no code (HEAD).
    fn answered(refusal: &Refusal, bucket: &str, key: &str) -> Option<Self> {
        let bucket = bucket.to_owned();
        let status = refusal.status;
        let answer = refusal.to_string();
        let advice = refusal.code.as_deref().and_then(advice);
        Some(match (refusal.code.as_deref(), status) {
            (Some("NoSuchBucket"), _) => Self::NoBucket { bucket },
            (Some("NoSuchKey"), _) => Self::NotFound {
                key: key.to_owned(),
            },
            (Some("RequestTimeTooSkewed"), _) => Self::ClockSkew { answer },
            // With If-None-Match 304 is no redirect.
            (
                Some(
                    "PermanentRedirect"
                    | "TemporaryRedirect"
                    | "IllegalLocationConstraintException",
                ),
                _,
            )
            | (_, 301 | 302 | 303 | 307 | 308) => Self::elsewhere(refusal),
            (Some("AuthorizationHeaderMalformed"), _) if refusal.region.is_some() => {
                Self::elsewhere(refusal)
            }
            _ if advice.is_some() || status == 401 => Self::WrongCredentials {
                answer,
                advice: advice.unwrap_or(KEY),
            },
            (Some("SlowDown" | "SlowDownRead" | "SlowDownWrite" | "Throttling"), _) | (_, 429) => {
                Self::SlowDown {
                    code: (refusal.code.clone()).unwrap_or("TooManyRequests".to_owned()),
                }
            }
            (_, 403) => Self::Denied { answer, bucket },
            // Not of the store's.
            (_, 407) => Self::Unreachable(
                "the proxy that HTTP_PROXY names wants another user name and password".to_owned(),
            ),
            // Without a code: whatever was requested is missing.
            (_, 404) if key.is_empty() => Self::NoBucket { bucket },
            (_, 404) => Self::NotFound {
                key: key.to_owned(),
            },
            _ => return None,
        })
    }

    /// The bucket is in another region, or the endpoint is another program's.
    fn elsewhere(refusal: &Refusal) -> Self {
        let answer = refusal.to_string();
        if refusal.region.is_none() && refusal.code.is_none() {
            let location = refusal.location.clone();
            return Self::Redirected { answer, location };
        }
        Self::WrongRegion {
            region: refusal.region.clone(),
            answer,
        }
    }

    /// Classifies an answer without a variant of its own.
    fn other(refusal: &Refusal) -> Self {
        let (status, code) = (refusal.status, refusal.code.as_deref());
        let answer = match code {
            None => refusal.to_string(),
            Some(_) => format!("{status} {refusal}"),
        };
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

const KEY: &str = "check the access key and its secret";

/// What to check where the store rejects the credentials with this code.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "InvalidAccessKeyId" => KEY,
        "SignatureDoesNotMatch" => {
            "check the access key and its secret; if they are right, something before the store changes the requests' Host, path or headers"
        }
        "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
            "the temporary credentials have expired or are not the store's: renew the access key, its secret and AWS_SESSION_TOKEN, or set none of them and give the pod a role, whose credentials renew themselves"
        }
        "AuthorizationHeaderMalformed" => "check the access key and its secret, and --s3-region",
        _ => return None,
    })
}

/// Whether an object has no byte in the range that the request named. Stores differ in the code.
pub(crate) fn is_past_the_end<E>(error: &SdkError<E>) -> bool {
    (error.raw_response()).is_some_and(|response| response.status().as_u16() == 416)
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
#[path = "error_tests.rs"]
mod tests;
