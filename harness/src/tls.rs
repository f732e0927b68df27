//! The crypto provider of the process, which is ring, and clients with it.

/// Makes ring the process's provider, unless another one is installed already.
pub(crate) fn use_ring() {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
}

/// A client of what runs on this machine: it uses no proxy.
pub(crate) fn local_client() -> reqwest::Client {
    use_ring();
    let client = reqwest::Client::builder().no_proxy().build();
    // As `Client::new`, which panics where there is no TLS.
    client.unwrap_or_default()
}
