//! The few calls that Fovea makes, each bounded in time and tries.

use crate::{ObjectKey, StoreConfig, StoreError};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider,
};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// How long a TCP and TLS handshake with the store may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A bucket, and the credentials to use it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) client: Client,
    /// Signs for the endpoint that clients outside reach; it sends nothing.
    pub(crate) public: Option<Client>,
    pub(crate) bucket: String,
    /// What signs; the SDK's client does not give its own away.
    pub(crate) credentials: Option<SharedCredentialsProvider>,
}

impl Store {
    /// Prepares a client; no request is made yet ([`Store::check`] makes one).
    pub async fn connect(config: &StoreConfig) -> Result<Self, StoreError> {
        Self::connect_by(config, None).await
    }

    /// As [`Store::connect`], with an access key at hand in the place of the SDK's own chain.
    pub async fn connect_as(
        config: &StoreConfig,
        access_key: &str,
        secret_key: &str,
    ) -> Result<Self, StoreError> {
        let keys = Credentials::new(access_key, secret_key, None, None, "fovea");
        Self::connect_by(config, Some(SharedCredentialsProvider::new(keys))).await
    }

    async fn connect_by(
        config: &StoreConfig,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Result<Self, StoreError> {
        let mut tls = TlsContext::builder();
        if let Some(path) = &config.ca_file {
            let pem = tokio::fs::read(path).await.map_err(|error| {
                StoreError::Config(format!("--s3-ca-file {}: {error}", path.display()))
            })?;
            tls = tls.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
        }
        let tls = tls
            .build()
            .map_err(|error| StoreError::Config(format!("TLS: {error}")))?;
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls)
            .build_https();

        let mut shared = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(config.region.clone()));
        if let Some(credentials) = credentials {
            shared = shared.credentials_provider(credentials);
        }
        let shared = shared.load().await;
        let mut s3 = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(config.path_style)
            // Every body is signed with its SHA-256 already; the newer checksum headers are what
            // older S3-compatible stores stumble over.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard().with_max_attempts(config.max_attempts))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(config.attempt_timeout())
                    .operation_timeout(config.operation_timeout())
                    .build(),
            );
        let public = config.public_endpoint.as_ref().map(|endpoint| {
            let public = s3.clone().endpoint_url(endpoint.as_str());
            Client::from_conf(public.build())
        });
        if let Some(endpoint) = &config.endpoint {
            s3 = s3.endpoint_url(endpoint.as_str());
        }
        Ok(Self {
            public,
            client: Client::from_conf(s3.build()),
            bucket: config.bucket.clone(),
            credentials: shared.credentials_provider(),
        })
    }

    /// One cheap request that needs the bucket and valid credentials.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.client
            .head_bucket()
            .bucket(&self.bucket)
            .send()
            .await
            .map(|_| ())
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, ""))
    }

    /// Writes an object whole, over whatever lies there.
    pub async fn put(
        &self,
        key: &ObjectKey,
        body: Bytes,
        content_type: &str,
    ) -> Result<(), StoreError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .content_type(content_type)
            .body(ByteStream::from(body))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))
    }

    /// Reads an object of at most `limit` bytes into memory.
    pub async fn get(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, StoreError> {
        let too_large = || StoreError::TooLarge {
            key: key.to_string(),
            limit,
        };
        let mut answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = answer.body.next().await {
            let chunk = chunk.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// A URL that reads this one object until `lifetime` has passed. Signing is local: no request.
    pub async fn presign_get(
        &self,
        key: &ObjectKey,
        lifetime: Duration,
    ) -> Result<String, StoreError> {
        if !key.is_inside_its_prefix() {
            return Err(StoreError::Config(format!(
                "refusing to presign {key}: it left its prefix"
            )));
        }
        let presigning = PresigningConfig::expires_in(lifetime)
            .map_err(|error| StoreError::Config(format!("presigning for {lifetime:?}: {error}")))?;
        self.client
            .get_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .presigned(presigning)
            .await
            .map(|request| request.uri().to_owned())
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))
    }
}
