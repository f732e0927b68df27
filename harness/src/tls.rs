//! The crypto provider of the process: ring.

/// Makes ring the process's provider, unless another one is installed already.
pub(crate) fn use_ring() {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
}
