//! What a contributor's machine needs: pinned tools, a local Kubernetes control plane, MinIO and
//! libtorch; and the harness that the integration tests and the demo stand on.
//!
//! Everything started here dies with its parent, however the parent ends, and leaves neither a
//! process nor a file behind.

pub mod cache;
pub mod setup;
pub mod versions;

mod text;
