//! What all attempts at shards share, and its bounds.

use super::memory::MemoryBudget;
use crate::trust::StoreClient;
use fovea_proxy::ClientError;
use fovea_trust::Authorities;
use reqwest::{Client, redirect};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bounds on shards of batches.
#[derive(Clone, Copy, Debug)]
pub struct ShardsConfig {
    /// Upper bound on shards at once.
    pub slots: u32,
    /// Memory of all shards together for pictures on their way from the store to the device: files, and
    /// the model's input made of them.
    pub memory_bytes: u64,
    /// Upper bound on downloads at once, of all shards together.
    pub fetches: usize,
    /// Time in which a download or an upload is tried again.
    pub patience: Duration,
}

impl Default for ShardsConfig {
    fn default() -> Self {
        Self {
            slots: 2,
            memory_bytes: 256 << 20,
            fetches: 32,
            patience: Duration::from_mins(2),
        }
    }
}

/// What all shards share.
pub(super) struct Shards {
    pub(super) memory: MemoryBudget,
    pub(super) fetches: Semaphore,
    pub(super) patience: Duration,
    pub(super) uploads: StoreClient,
}

impl Shards {
    pub(super) fn new(
        config: ShardsConfig,
        authorities: Option<Arc<Authorities>>,
    ) -> Result<Self, ClientError> {
        let ShardsConfig {
            slots: _,
            memory_bytes,
            fetches,
            patience,
        } = config;
        // An error means that main or another test has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let uploads = StoreClient::new(authorities, || {
            Client::builder()
                .redirect(redirect::Policy::none())
                .referer(false)
                .connect_timeout(Duration::from_secs(5))
        })?;
        Ok(Self {
            memory: MemoryBudget::new(memory_bytes),
            fetches: Semaphore::new(fetches),
            patience,
            uploads,
        })
    }
}
