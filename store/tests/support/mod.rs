//! A bucket of a test's own.

use fovea_harness::Minio;
use fovea_store::{Store, StoreConfig};

pub(crate) const BUCKET: &str = "fovea";

/// A store with its own MinIO, which ends with the test; `configure` completes what it connects by.
pub(crate) async fn store_by(
    configure: impl FnOnce(&Minio, StoreConfig) -> StoreConfig,
) -> (Minio, Store) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let minio = Minio::start().await.unwrap();
    minio.create_bucket(BUCKET).unwrap();
    let config = StoreConfig::at(minio.endpoint().parse().unwrap(), BUCKET);
    let config = configure(&minio, config);
    let store = Store::connect_as(&config, minio.access_key(), minio.secret_key()).await;
    (minio, store.unwrap())
}

/// A store with its own MinIO, which ends with the test.
#[allow(
    dead_code,
    reason = "one of the programs that share this file configures its store"
)]
pub(crate) async fn store() -> (Minio, Store) {
    store_by(|_, config| config).await
}
