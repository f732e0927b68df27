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
    let put = async |body: &[u8]| {
        let put = s3.put_object().bucket("pictures").key("a/b.png");
        let put = put.body(body.to_vec().into()).if_none_match("*");
        put.send().await
    };
    put(b"picture").await?;
    assert!(
        put(b"other").await.is_err(),
        "`If-None-Match: *` is honoured"
    );
    let listed = s3.list_objects_v2().bucket("pictures").send().await?;
    let keys = listed.contents().iter().filter_map(|object| object.key());
    assert_eq!(keys.collect::<Vec<_>>(), ["a/b.png"]);
    let back = s3.get_object().bucket("pictures").key("a/b.png");
    let back = back.send().await?;
    assert_eq!(back.body.collect().await?.to_vec(), b"picture");
    minio.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_stranger_is_refused() -> Result<()> {
    let minio = Minio::start().await?;
    minio.create_bucket("pictures")?;
    let url = format!("{}/pictures?list-type=2", minio.endpoint());
    assert_eq!(reqwest::get(url).await?.status(), 403);
    Ok(())
}
