//! Free ports on loopback. If another process takes one before the program binds it, the program is started
//! again with other ports.

use std::net::TcpListener;

use crate::error::ClusterError;
use crate::process::ProcessError;

/// Number of starts, each with new ports; two clashes in a row are very unlikely.
const ATTEMPTS: usize = 4;

/// Part of a program's error when its port is taken: "address already in use", "port is already in use".
pub(crate) const PORT_TAKEN: &str = "already in use";

/// Chooses `N` different ports that are free now.
pub fn free<const N: usize>() -> Result<[u16; N], ClusterError> {
    let io = |source| ClusterError::Io {
        what: "looking for a free port".to_owned(),
        source,
    };
    // The sockets stay open until all ports are chosen, so that these differ.
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(io)?;
        *port = listener.local_addr().map_err(io)?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Calls `start` with ports from `choose`, and again with others after a clash.
pub(crate) async fn retrying<T, const N: usize>(
    mut choose: impl FnMut() -> Result<[u16; N], ClusterError>,
    start: impl AsyncFn([u16; N]) -> Result<T, ClusterError>,
) -> Result<T, ClusterError> {
    for _ in 1..ATTEMPTS {
        match start(choose()?).await {
            Err(error) if is_clash(&error) => {}
            result => return result,
        }
    }
    start(choose()?).await
}

/// Whether another process took a port between our choice and the program's start.
fn is_clash(error: &ClusterError) -> bool {
    match error {
        ClusterError::PortTaken { .. } => true,
        ClusterError::Process(ProcessError::Ended { log, .. }) => log.contains(PORT_TAKEN),
        _ => false,
    }
}
