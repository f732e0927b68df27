//! How to reach the bucket. Credentials come from the SDK's own chain (environment, profile, web
//! identity, instance role) and are never part of this struct; a password in an endpoint's URL is
//! masked. Printing a [`StoreConfig`] therefore discloses nothing.

use crate::Endpoint;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

const REGION: &str = "us-east-1";
const ATTEMPT_TIMEOUT_MS: u64 = 10_000;
const MAX_ATTEMPTS: u32 = 3;

/// Flags and environment of the object store.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Object store")]
pub struct StoreConfig {
    /// S3 bucket for pictures, results and model weights. It must exist: Fovea does not create it.
    #[arg(long = "s3-bucket", env = "FOVEA_S3_BUCKET", default_value = "fovea")]
    pub bucket: String,

    /// URL of the S3-compatible store, such as `http://minio:9000`. Omit it for AWS, whose endpoint
    /// follows from --s3-region.
    #[arg(long = "s3-endpoint", env = "FOVEA_S3_ENDPOINT")]
    pub endpoint: Option<Endpoint>,

    /// URL at which clients outside the cluster reach the same store. If set, the API redirects
    /// downloads of pictures and large results to signed URLs there; if not, it streams them itself.
    #[arg(long = "s3-public-endpoint", env = "FOVEA_S3_PUBLIC_ENDPOINT")]
    pub public_endpoint: Option<Endpoint>,

    /// AWS region of the bucket, used to sign requests. MinIO accepts the default.
    #[arg(
        long = "s3-region",
        env = "FOVEA_S3_REGION",
        default_value = REGION
    )]
    pub region: String,

    /// Address objects as `endpoint/bucket/key` instead of `bucket.endpoint/key`. MinIO and most
    /// other stores need it; set it to false for AWS.
    #[arg(long = "s3-path-style", env = "FOVEA_S3_PATH_STYLE", default_value_t = true, action = clap::ArgAction::Set)]
    pub path_style: bool,

    /// As --s3-path-style, for --s3-public-endpoint; the same if omitted.
    #[arg(long = "s3-public-path-style", env = "FOVEA_S3_PUBLIC_PATH_STYLE")]
    pub public_path_style: Option<bool>,

    /// PEM file of certificate authorities to trust for the store instead of the system's, of at most
    /// 384 KiB. It is read again when it changes. The operator passes its certificates on to the
    /// runners and imports that it starts.
    #[arg(long = "s3-ca-file", env = "FOVEA_S3_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// Timeout of one attempt of a request to the store, in milliseconds.
    #[arg(
        long = "s3-attempt-timeout-ms",
        env = "FOVEA_S3_ATTEMPT_TIMEOUT_MS",
        default_value_t = ATTEMPT_TIMEOUT_MS
    )]
    pub attempt_timeout_ms: u64,

    /// Maximum number of attempts per request to the store, including the first.
    #[arg(
        long = "s3-max-attempts",
        env = "FOVEA_S3_MAX_ATTEMPTS",
        default_value_t = MAX_ATTEMPTS
    )]
    pub max_attempts: u32,
}

impl StoreConfig {
    /// The bucket `bucket` of the store at `endpoint`, with the flags' defaults for everything else.
    pub fn at(endpoint: Url, bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            endpoint: Some(endpoint.into()),
            public_endpoint: None,
            region: REGION.to_owned(),
            path_style: true,
            public_path_style: None,
            ca_file: None,
            attempt_timeout_ms: ATTEMPT_TIMEOUT_MS,
            max_attempts: MAX_ATTEMPTS,
        }
    }

    pub(crate) fn attempt_timeout(&self) -> Duration {
        Duration::from_millis(self.attempt_timeout_ms)
    }

    /// Timeout of a whole request: all its attempts and the pauses between them.
    pub fn operation_timeout(&self) -> Duration {
        self.attempt_timeout() * self.max_attempts + Duration::from_secs(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_configuration_masks_user_names_and_passwords_of_endpoints() {
        let mut config = StoreConfig::at(
            "http://user:secret@s3.test:9000/".parse().unwrap(),
            "pictures",
        );
        config.public_endpoint = Some("https://token@public.test/".parse().unwrap());
        let printed = format!("{config:?}");
        for shown in ["http://***@s3.test:9000/", "https://***@public.test/"] {
            assert!(printed.contains(shown), "{printed}");
        }
        for hidden in ["user", "secret", "token"] {
            assert!(!printed.contains(hidden), "{printed}");
        }
    }
}
