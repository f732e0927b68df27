//! What can go wrong with the bucket, told so that an operator of the system can mend it.

use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// A failed request to the object store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object is not there.
    #[error("there is no object {key:?} in the bucket")]
    NotFound {
        /// Which object.
        key: String,
    },
    /// The bucket is not there.
    #[error("the bucket {bucket:?} does not exist: create it, or set --s3-bucket")]
    NoBucket {
        /// Which bucket.
        bucket: String,
    },
    /// The store refuses the credentials.
    #[error(
        "the object store refuses our credentials ({code}): check the access key, its policy and both clocks"
    )]
    Refused {
        /// S3's error code.
        code: String,
    },
    /// The object is larger than its reader allows.
    #[error("the object {key:?} is larger than {limit} bytes")]
    TooLarge {
        /// Which object.
        key: String,
        /// The bound.
        limit: u64,
    },
    /// The configuration cannot be used.
    #[error("the object store's configuration is wrong: {0}")]
    Config(String),
    /// No usable answer in time, after all tries.
    #[error("the object store does not answer as it should: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// Whether the same request may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    pub(crate) fn from_sdk<E>(error: &SdkError<E>, bucket: &str, key: &str) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let code = error.code();
        match (code, status) {
            (Some("NoSuchBucket"), _) => Self::NoBucket {
                bucket: bucket.to_owned(),
            },
            (Some("NoSuchKey"), _) => Self::NotFound {
                key: key.to_owned(),
            },
            // HEAD answers carry no body and so no code: on a bucket it is the bucket's absence.
            (_, Some(404)) if key.is_empty() => Self::NoBucket {
                bucket: bucket.to_owned(),
            },
            (_, Some(404)) => Self::NotFound {
                key: key.to_owned(),
            },
            (_, Some(401 | 403)) => Self::Refused {
                code: code.unwrap_or("Forbidden").to_owned(),
            },
            _ => Self::Unavailable(DisplayErrorContext(error).to_string()),
        }
    }
}
