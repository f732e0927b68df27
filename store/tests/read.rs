//! Reading, deleting and presigning against a real MinIO.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod support;

use bytes::Bytes;
use fovea_harness::Minio;
use fovea_store::{ObjectKey, PIECE_BYTES, Presentation, Store, StoreConfig, StoreError};
use std::time::{Duration, SystemTime};
use support::store_by;

const AS_PNG: Presentation<'_> = Presentation {
    content_type: "image/png",
    disposition: "attachment; filename=\"a.png\"",
};

/// A store with its own MinIO, with a public endpoint if `public`.
async fn store(public: bool) -> (Minio, Store) {
    store_by(|minio, config| {
        let other_name = minio.endpoint().replace("127.0.0.1", "localhost");
        assert_ne!(other_name, minio.endpoint());
        StoreConfig {
            public_endpoint: public.then(|| other_name.parse().unwrap()),
            ..config
        }
    })
    .await
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::data("ns", name).unwrap()
}

#[tokio::test]
async fn an_object_is_read_in_pieces_or_only_its_head() {
    let (minio, store) = store(false).await;
    let whole = Bytes::from(vec![7; 3_000_000]);
    let object = key("large");
    store
        .put(&object, whole.clone(), "image/png")
        .await
        .unwrap();
    let mut reader = store.open(&object).await.unwrap();
    assert_eq!(reader.bytes, 3_000_000);
    let (mut seen, mut pieces) = (0, 0);
    while let Some(piece) = reader.next().await {
        seen += piece.unwrap().len();
        pieces += 1;
    }
    assert!(seen == 3_000_000 && pieces > 1, "{seen} in {pieces}");
    assert_eq!(store.head(&object, 64).await.unwrap(), whole.slice(..64));
    store.put(&key("empty"), Bytes::new(), "a/b").await.unwrap();
    assert_eq!(store.head(&key("empty"), 64).await.unwrap(), Bytes::new());
    assert!(matches!(
        store.open(&key("none")).await,
        Err(StoreError::NotFound { .. })
    ));
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn slow_readers_get_an_object_by_one_request_for_each_piece_all_of_one_version() {
    let (minio, store) = store(false).await;
    let bytes: Vec<u8> = (0..=250).cycle().take(2 * PIECE_BYTES + 1).collect();
    let object = key("large");
    for length in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, bytes.len()] {
        let whole = Bytes::copy_from_slice(&bytes[..length]);
        store.put(&object, whole.clone(), "a/b").await.unwrap();
        let mut pieces = store.open_in_pieces(&object).await.unwrap();
        assert_eq!(pieces.bytes, length as u64);
        let mut read = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.unwrap();
            assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES);
            read.extend_from_slice(&piece);
        }
        assert!(read == whole, "{length}");
    }

    let mut pieces = store.open_in_pieces(&object).await.unwrap();
    pieces.next().await.unwrap().unwrap();
    let other = Bytes::from(vec![1; bytes.len()]);
    store.put(&object, other, "a/b").await.unwrap();
    assert!(pieces.next().await.unwrap().is_err());
    assert!(pieces.next().await.is_none());
    assert!(matches!(
        store.open_in_pieces(&key("none")).await,
        Err(StoreError::NotFound { .. })
    ));
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn an_object_has_an_age_until_it_is_deleted_and_deleting_twice_is_no_error() {
    let (minio, store) = store(false).await;
    let object = key("a");
    assert_eq!(store.modified(&object).await.unwrap(), None);
    store.put(&object, Bytes::new(), "a/b").await.unwrap();
    let modified = store.modified(&object).await.unwrap().unwrap();
    let age = SystemTime::now().duration_since(modified).unwrap();
    assert!(age < Duration::from_mins(1), "{age:?}");
    store.delete(&object).await.unwrap();
    assert_eq!(store.modified(&object).await.unwrap(), None);
    store.delete(&object).await.unwrap();
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn a_public_url_reads_one_object_with_the_signed_response_headers() {
    let (minio, store) = store(true).await;
    let object = key("a.png");
    store
        .put(&object, "bytes".into(), "text/html")
        .await
        .unwrap();
    let minute = Duration::from_mins(1);
    let url = store.presign_public_get(&object, minute, AS_PNG).await;
    let url = url.unwrap().unwrap();
    assert!(url.starts_with("http://localhost:"), "{url}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.headers()["content-disposition"], AS_PNG.disposition);
    assert_eq!(answer.text().await.unwrap(), "bytes");
    // The signature covers the object.
    let other = url.replace("a.png?", "b.png?");
    assert_ne!(other, url);
    assert_eq!(client.get(other).send().await.unwrap().status(), 403);
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_public_endpoint_there_is_no_public_url() {
    let (minio, store) = store(false).await;
    let minute = Duration::from_mins(1);
    let url = store.presign_public_get(&key("a"), minute, AS_PNG).await;
    assert_eq!(url.unwrap(), None);
    minio.stop().await.unwrap();
}
