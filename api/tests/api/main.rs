//! The API program against a real Kubernetes API server and MinIO. All tests share one control plane
//! and one MinIO; each has its own namespace and process.

#![expect(clippy::expect_used, reason = "the tests' own helpers may fail a test")]

mod audit;
mod auth;
mod bad_input;
mod batches;
mod bounds;
mod callbacks;
mod compat;
mod content;
mod credentials;
mod docs;
mod ending;
mod events;
mod files;
mod fuzz;
mod harness;
mod heads;
mod killed;
mod listing;
mod lost_answers;
mod memory;
mod namespaces;
mod neighbours;
mod observability;
mod outages;
mod pictures;
mod pools;
mod proxies;
mod retention;
mod rights;
mod submit;
mod waiting;
