//! How to reach the bucket. Credentials come from the SDK's own chain (environment, profile, web
//! identity, instance role) and are never part of this struct, so that printing it is harmless.

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
    /// Bucket that holds Fovea's pictures and results; it must exist.
    #[arg(long = "s3-bucket", env = "FOVEA_S3_BUCKET", default_value = "fovea")]
    pub bucket: String,

    /// Endpoint of an S3-compatible store such as MinIO; AWS's own where absent.
    #[arg(long = "s3-endpoint", env = "FOVEA_S3_ENDPOINT")]
    pub endpoint: Option<Url>,

    /// Endpoint at which clients outside the cluster reach the same store: with it they are sent
    /// there for pictures and large results, by signed URLs; without it the API streams them.
    #[arg(long = "s3-public-endpoint", env = "FOVEA_S3_PUBLIC_ENDPOINT")]
    pub public_endpoint: Option<Url>,

    /// Region to sign for.
    #[arg(
        long = "s3-region",
        env = "FOVEA_S3_REGION",
        default_value = REGION
    )]
    pub region: String,

    /// Address buckets as `endpoint/bucket/key`; most stores that are not AWS want it.
    #[arg(long = "s3-path-style", env = "FOVEA_S3_PATH_STYLE", default_value_t = true, action = clap::ArgAction::Set)]
    pub path_style: bool,

    /// PEM file with the certificate authorities to trust instead of the system's.
    #[arg(long = "s3-ca-file", env = "FOVEA_S3_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// Most milliseconds for one try of one request.
    #[arg(
        long = "s3-attempt-timeout-ms",
        env = "FOVEA_S3_ATTEMPT_TIMEOUT_MS",
        default_value_t = ATTEMPT_TIMEOUT_MS
    )]
    pub attempt_timeout_ms: u64,

    /// Tries of one request, the first one counted.
    #[arg(
        long = "s3-max-attempts",
        env = "FOVEA_S3_MAX_ATTEMPTS",
        default_value_t = MAX_ATTEMPTS
    )]
    pub max_attempts: u32,
}

impl StoreConfig {
    /// A bucket of the store at `endpoint`; all else as the flags have it by default.
    pub fn at(endpoint: Url, bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            endpoint: Some(endpoint),
            public_endpoint: None,
            region: REGION.to_owned(),
            path_style: true,
            ca_file: None,
            attempt_timeout_ms: ATTEMPT_TIMEOUT_MS,
            max_attempts: MAX_ATTEMPTS,
        }
    }

    pub(crate) fn attempt_timeout(&self) -> Duration {
        Duration::from_millis(self.attempt_timeout_ms)
    }

    /// Bound on a whole request with all its tries and the waits between them.
    pub fn operation_timeout(&self) -> Duration {
        self.attempt_timeout() * self.max_attempts + Duration::from_secs(5)
    }
}
