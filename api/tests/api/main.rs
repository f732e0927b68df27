//! The API's program against a real Kubernetes API server and a real MinIO, over a real socket.
//! One control plane and one MinIO serve all tests; each test has a namespace and a process of its
//! own.

#![expect(clippy::expect_used, reason = "the tests' own helpers may fail a test")]

mod auth;
mod bad_input;
mod bounds;
mod callbacks;
mod compat;
mod content;
mod credentials;
mod docs;
mod ending;
mod events;
mod fuzz;
mod harness;
mod heads;
mod killed;
mod listing;
mod lost_answers;
mod observability;
mod outages;
mod pictures;
mod pools;
mod rights;
mod submit;
mod waiting;
