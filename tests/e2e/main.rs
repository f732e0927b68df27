//! The whole system on real parts: etcd, kube-apiserver, MinIO, and Fovea's three programs with
//! the demo's BLIP. One stack serves every test of this file; faults that would disturb others
//! are in `faults`.

mod bad_input;
mod captions;
mod lifecycle;
mod support;
