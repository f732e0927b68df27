//! What a contributor's machine needs: pinned tools, a local Kubernetes control plane, nodes, images,
//! MinIO and libtorch; and the harness that the integration tests and the demo stand on.
//!
//! Everything started here dies with its parent, however the parent ends, and leaves neither a
//! process nor a file behind: see [`guard`].

pub mod cache;
pub mod chart;
pub mod cluster;
pub mod docs;
pub mod guard;
pub mod images;
pub mod ingress;
pub mod minio;
pub mod node;
pub mod process;
pub mod prometheus;
pub mod release;
pub mod setup;
pub mod stack;
pub mod versions;
pub mod wait;

pub mod ports;
mod text;
mod tls;

pub use cluster::{ControlPlane, ControlPlaneOptions, TempNamespace, with_temp_ns};
pub use ingress::Ingress;
pub use minio::Minio;
pub use node::{Cluster, ClusterOptions, NodeOptions};
pub use process::{Process, Program};
pub use prometheus::{Prometheus, PrometheusOptions};
pub use stack::{Stack, StackOptions};
pub use wait::eventually;
