//! Lists, and deletions that keep objects written again, against a real MinIO.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod support;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use fovea_store::{Deletion, MAX_PAGE, ObjectKey, Owned, Part, Store};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};
use support::{BUCKET, store};

const UID: &str = "0b9b0d1e-5f5c-4d2c-9b57-6d8a3f1c2e4d";

async fn put(store: &Store, key: &ObjectKey) {
    store.put(key, "x".into(), "text/plain").await.unwrap();
}

#[tokio::test]
async fn a_list_of_many_pages_has_every_object_of_its_part_once() {
    let (minio, store) = store().await;
    let mut expected = BTreeSet::new();
    for number in 0..=MAX_PAGE {
        let key = ObjectKey::system(UID, &format!("shards/{number}")).unwrap();
        put(&store, &key).await;
        expected.insert(key.as_str().to_owned());
    }
    put(&store, &ObjectKey::data("ns", "system/x").unwrap()).await;
    let foreign = ObjectKey::system("zzz", "a key of somebody else's+").unwrap();
    put(&store, &foreign).await;

    let (mut seen, mut foreign, mut pages, mut next) = (BTreeSet::new(), 0, 0, None);
    loop {
        let page = store.list(Part::System, None, next).await.unwrap();
        pages += 1;
        assert!(page.objects.len() <= MAX_PAGE);
        for listed in page.objects {
            assert!(listed.modified.elapsed().unwrap() < Duration::from_mins(10));
            match listed.object {
                Some((key, owned)) => {
                    let by_job = Owned::ByJob {
                        uid: UID.to_owned(),
                    };
                    assert_eq!(owned, by_job);
                    assert!(seen.insert(key.as_str().to_owned()), "{key} comes twice");
                }
                None => foreign += 1,
            }
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!((seen, foreign, pages), (expected, 1, 2));
    for part in [Part::Uploads, Part::Results] {
        let page = store.list(part, None, None).await.unwrap();
        assert_eq!((page.objects, page.next), (Vec::new(), None));
    }
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn an_object_is_deleted_unless_it_was_put_after_the_limit() {
    let (minio, store) = store().await;
    let key = ObjectKey::result("ns", UID).unwrap();
    put(&store, &key).await;
    let put_at = store.modified(&key).await.unwrap().unwrap();
    let before = put_at - Duration::from_secs(1);
    for (limit, deletion) in [
        (before, Deletion::PutAgain),
        (put_at, Deletion::Gone),
        // It is deleted already.
        (put_at, Deletion::Gone),
    ] {
        let deleted = store.delete_unless_put_after(&key, limit).await.unwrap();
        assert_eq!(deleted, deletion);
        let there = store.modified(&key).await.unwrap().is_some();
        assert_eq!(there, deletion == Deletion::PutAgain);
    }
    minio.stop().await.unwrap();
}

/// A deletion removes the version whose age was read, and leaves no marker.
#[tokio::test]
async fn in_a_versioned_bucket_a_deletion_removes_one_version() {
    let (minio, store) = store().await;
    let keys = Credentials::new(minio.access_key(), minio.secret_key(), None, None, "test");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("us-east-1"))
        .endpoint_url(minio.endpoint())
        .force_path_style(true)
        .credentials_provider(keys)
        .build();
    let client = Client::from_conf(config);
    let enabled = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    let request = client.put_bucket_versioning().bucket(BUCKET);
    let request = request.versioning_configuration(enabled);
    request.send().await.unwrap();

    let key = ObjectKey::result("ns", UID).unwrap();
    put(&store, &key).await;
    put(&store, &key).await;
    let limit = SystemTime::now() + Duration::from_hours(1);
    for remaining in [1, 0] {
        let deleted = store.delete_unless_put_after(&key, limit).await.unwrap();
        assert_eq!(deleted, Deletion::Gone);
        let versions = client.list_object_versions().bucket(BUCKET);
        let versions = versions.send().await.unwrap();
        assert_eq!(versions.versions().len(), remaining);
        assert!(versions.delete_markers().is_empty());
    }
    minio.stop().await.unwrap();
}
