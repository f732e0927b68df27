//! MinIO, as the tests of the other crates use it.

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use fovea_harness::Minio;

fn client(minio: &Minio) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let keys = Credentials::new(minio.access_key(), minio.secret_key(), None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new("us-east-1"))
        .endpoint_url(minio.endpoint())
        .credentials_provider(keys)
        .force_path_style(true)
        // A MinIO that is not ready yet is a failure here, and nothing to try again.
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

#[tokio::test]
async fn an_object_in_a_new_bucket_can_be_listed_and_read() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket("pictures")?;
    let s3 = client(&minio);
    let put = s3
        .put_object()
        .bucket("pictures")
        .key("a/b.png")
        .body(b"picture".to_vec().into());
    put.if_none_match("*").send().await?;
    let again = s3
        .put_object()
        .bucket("pictures")
        .key("a/b.png")
        .body(b"other".to_vec().into());
    assert!(
        again.if_none_match("*").send().await.is_err(),
        "`If-None-Match: *` is honoured"
    );
    let listed = s3.list_objects_v2().bucket("pictures").send().await?;
    assert_eq!(
        listed
            .contents()
            .iter()
            .filter_map(|o| o.key())
            .collect::<Vec<_>>(),
        ["a/b.png"]
    );
    let back = s3
        .get_object()
        .bucket("pictures")
        .key("a/b.png")
        .send()
        .await?;
    assert_eq!(back.body.collect().await?.to_vec(), b"picture");
    minio.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_stranger_is_refused() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket("pictures")?;
    let url = format!("{}/pictures?list-type=2", minio.endpoint());
    assert_eq!(
        reqwest::get(url).await?.status(),
        reqwest::StatusCode::FORBIDDEN
    );
    Ok(())
}
