//! The API's program against a real Kubernetes API server and a real MinIO, over a real socket.
//! One control plane and one MinIO serve all tests; each test has a namespace and a process of its
//! own.

#![expect(clippy::expect_used, reason = "the tests' own helpers may fail a test")]

mod bad_input;
mod bounds;
mod compat;
mod docs;
mod fuzz;
mod harness;
mod lost_answers;
mod outages;
mod pictures;
mod proxy;
mod rights;
mod submit;
