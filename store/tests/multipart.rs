//! Objects of unknown length, against a real MinIO.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod support;

use bytes::Bytes;
use fovea_store::{ObjectKey, StoreError};
use support::store;

#[tokio::test]
async fn an_object_of_unknown_length_is_written_whole_or_not_at_all() {
    let (_minio, store) = store().await;
    for (name, length) in [("empty", 0), ("small", 10), ("large", 17 * 1024 * 1024)] {
        let key = ObjectKey::data("ns", name).unwrap();
        let whole: Bytes = (0..length).map(|n: u32| (n % 251) as u8).collect();
        let mut object = store.create(&key, "application/x-tar").await.unwrap();
        for piece in whole.chunks(1_000_003) {
            object.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let before = store.get(&key, u64::MAX).await;
        assert!(matches!(before, Err(StoreError::NotFound { .. })), "{name}");
        object.finish().await.unwrap();
        assert!(store.get(&key, u64::MAX).await.unwrap() == whole, "{name}");
    }
    let key = ObjectKey::data("ns", "given-up").unwrap();
    let mut object = store.create(&key, "application/x-tar").await.unwrap();
    object.write(Bytes::from(vec![0; 9_000_000])).await.unwrap();
    drop(object);
    let after = store.get(&key, u64::MAX).await;
    assert!(matches!(after, Err(StoreError::NotFound { .. })));
}
