//! A cluster with real nodes: pods run, and are reached.

#[path = "node/faults.rs"]
mod faults;
#[path = "node/images.rs"]
mod images;
#[path = "node/ingress.rs"]
mod ingress;
#[path = "node/perl.rs"]
mod perl;
#[path = "node/pods.rs"]
mod pods;
#[path = "node/policies.rs"]
mod policies;
#[path = "node/prometheus.rs"]
mod prometheus;
#[path = "node/shared.rs"]
mod shared;
#[path = "node/support.rs"]
mod support;
