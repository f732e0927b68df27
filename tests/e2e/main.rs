//! The whole system on real parts: etcd, kube-apiserver, MinIO, and Fovea's three programs with
//! the demo's models. One stack serves every test of this file, but for that of traces; faults that would
//! disturb others are in `faults`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod bad_input;
mod batch;
mod captions;
mod clock;
mod compat;
mod early;
mod fairness;
mod lifecycle;
mod namespaces;
mod predictions;
mod private;
mod proxies;
mod support;
mod traces;
