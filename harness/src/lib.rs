//! The harness of the integration tests and of the demo: a local Kubernetes control plane, nodes,
//! images, an ingress, Prometheus, MinIO, and all of Fovea's programs on one machine.
//!
//! Everything that is started here ends with its parent, even if the parent is killed, and leaves neither a
//! process nor a file behind: see [`guard`].

#![allow(
    missing_docs,
    reason = "only tests, `fovea-dev` and `fovea-guard` use this library"
)]

pub mod cluster;
mod error;
pub mod guard;
pub mod images;
pub mod ingress;
pub mod minio;
pub mod node;
pub mod ports;
pub mod process;
mod programs;
pub mod prometheus;
pub mod stack;
pub mod store_server;
mod text;
mod tls;
pub mod wait;

pub use cluster::{ControlPlane, ControlPlaneOptions, TempNamespace, with_temp_ns};
pub use ingress::Ingress;
pub use minio::Minio;
pub use node::{Cluster, ClusterOptions, NodeOptions};
pub use process::{Process, Program};
pub use prometheus::{Prometheus, PrometheusOptions};
pub use stack::{Stack, StackOptions};
pub use store_server::{ObjectStore, ServesS3, StoreServer};
pub use wait::eventually;
