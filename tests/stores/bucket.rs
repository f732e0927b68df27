//! Requests to a store that Fovea itself never makes.

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use fovea_harness::stack::BUCKET;
use fovea_harness::{ServesS3, eventually};
use std::time::Duration;

/// Bound on a store's first bucket: SeaweedFS grows its first volume for it.
const CREATED: Duration = Duration::from_mins(2);

pub(crate) fn client(server: &impl ServesS3) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let (access, secret) = (server.access_key(), server.secret_key());
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new("us-east-1"))
        .endpoint_url(server.endpoint())
        .credentials_provider(Credentials::new(access, secret, None, None, "test"))
        .force_path_style(true)
        .build();
    Client::from_conf(config)
}

/// Creates the bucket as a person does, and waits until it takes objects.
pub(crate) async fn create(server: &impl ServesS3) -> Result<()> {
    let s3 = client(server);
    let created = eventually("the bucket", CREATED, async || {
        let head = s3.head_bucket().bucket(BUCKET).send().await;
        if head.is_err() {
            s3.create_bucket().bucket(BUCKET).send().await?;
        }
        let put = s3.put_object().bucket(BUCKET).key("data/first");
        put.body(vec![b'x'].into()).send().await?;
        anyhow::Ok(())
    });
    created.await.context("creating the bucket")?;
    let first = s3.delete_object().bucket(BUCKET).key("data/first");
    first.send().await?;
    Ok(())
}

/// Puts an object with a key that Fovea refuses; some stores refuse it too.
pub(crate) async fn put_raw(server: &impl ServesS3, key: &str, body: &[u8]) -> Result<()> {
    let put = client(server).put_object().bucket(BUCKET).key(key);
    put.body(body.to_vec().into()).send().await?;
    Ok(())
}
