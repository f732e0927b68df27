//! A batch's objects on a real MinIO.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod support;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use fovea_harness::Minio;
use fovea_store::{ObjectKey, PartMetadata, PartName, SignedPut, Store};
use reqwest::StatusCode;
use std::time::Duration;
use support::{BUCKET, store};

const UID: &str = "0b9b0d1e-5f5c-4d2c-9b57-6d8a3f1c2e4d";

/// A client that puts any key.
fn client(minio: &Minio) -> Client {
    let keys = Credentials::new(minio.access_key(), minio.secret_key(), None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("us-east-1"))
        .endpoint_url(minio.endpoint())
        .force_path_style(true)
        .credentials_provider(keys)
        .build();
    Client::from_conf(config)
}

async fn listed(store: &Store, prefix: &str) -> Vec<(String, u64)> {
    let mut pages = store.list_data("ns", prefix).unwrap();
    let mut all = Vec::new();
    while let Some(objects) = pages.next().await.unwrap() {
        all.extend(objects.into_iter().map(|object| (object.key, object.bytes)));
    }
    all
}

#[tokio::test]
async fn keys_are_listed_and_copied_as_they_are_whatever_their_characters() {
    let (minio, store) = store().await;
    let names = [
        "a b.jpg",
        "a+b.jpg",
        "a%20b.jpg",
        "a%2Bb.jpg",
        "100%.jpg",
        "ü/日本.jpg",
        "a&b=c?d#e;f,g@h:i$j.jpg",
        "quote'\"<>[]{}|^`~!*().jpg",
    ];
    let client = client(&minio);
    for name in names {
        let put = client.put_object().bucket(BUCKET);
        let put = put.key(format!("data/ns/in/{name}"));
        let body = ByteStream::from(name.as_bytes().to_vec());
        put.body(body).send().await.unwrap();
    }
    let mut expected: Vec<_> = names
        .iter()
        .map(|name| (format!("in/{name}"), name.len() as u64))
        .collect();
    expected.sort();
    assert_eq!(listed(&store, "in").await, expected);

    let mut copied = 0;
    for name in names {
        // A key with a `%` is refused.
        let Ok(from) = ObjectKey::data("ns", &format!("in/{name}")) else {
            assert!(name.contains('%'), "{name}");
            continue;
        };
        let to = ObjectKey::output("ns", "out", UID, name).unwrap();
        store.copy(&from, &to).await.unwrap();
        assert_eq!(store.get(&to, 1000).await.unwrap(), name);
        copied += 1;
    }
    assert_eq!(listed(&store, "out").await.len(), copied);
    minio.stop().await.unwrap();
}

async fn put(http: &reqwest::Client, signed: &SignedPut, body: &'static str) -> StatusCode {
    let mut request = http.put(&signed.url).body(body);
    for (name, value) in &signed.headers {
        request = request.header(name, value);
    }
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn a_part_is_written_once_with_what_it_says_of_itself() {
    let (minio, store) = store().await;
    let http = reqwest::Client::new();
    let part = PartName::parse("000003.0-2.end").unwrap();
    let key = ObjectKey::part(UID, part).unwrap();
    let metadata = PartMetadata {
        succeeded: 1,
        failed: 1,
        skipped: 0,
        bytes: 5,
        sha256: "digest".to_owned(),
        formatted: None,
        reused: 1,
    };
    let lifetime = Duration::from_mins(1);
    let sign = || store.presign_put_if_absent(&key, 5, Some(&metadata), lifetime);
    assert_eq!(store.part_metadata(UID, part).await.unwrap(), None);
    assert_eq!(store.parts(UID).await.unwrap(), []);

    let mut unconditional = sign().await.unwrap();
    unconditional.headers.remove("if-none-match").unwrap();
    let mut forged = sign().await.unwrap();
    *forged.headers.get_mut("x-amz-meta-part").unwrap() = "{}".to_owned();
    for altered in [unconditional, forged] {
        let status = put(&http, &altered, "rows\n").await;
        assert!(status.is_client_error(), "{status}");
        assert_eq!(store.parts(UID).await.unwrap(), []);
    }

    let signed = sign().await.unwrap();
    assert_eq!(put(&http, &signed, "rows\n").await, StatusCode::OK);
    assert_eq!(
        put(&http, &signed, "late\n").await,
        StatusCode::PRECONDITION_FAILED
    );
    let again = sign().await.unwrap();
    assert_eq!(
        put(&http, &again, "late\n").await,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(store.get(&key, 10).await.unwrap(), "rows\n");
    assert_eq!(
        store.part_metadata(UID, part).await.unwrap(),
        Some(metadata)
    );
    assert_eq!(store.parts(UID).await.unwrap(), [part]);
    minio.stop().await.unwrap();
}
