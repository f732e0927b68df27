//! The chart on a real node: restricted pods, an ingress with TLS, tenants, upgrades, faults. They
//! need root; without it each says why it did nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod docs;
mod faults;
mod first_day;
mod life;
mod network;
mod old_clients;
mod samples;
mod tenants;
mod trial;
