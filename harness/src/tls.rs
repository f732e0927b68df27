//! One crypto provider for all: ring.

/// Makes ring the process's provider, unless somebody has chosen one before.
pub(crate) fn use_ring() {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
}
