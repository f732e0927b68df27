//! Shared parts of the tests of the whole system: an operator with its own cluster, and a runner that follows
//! the script in a job's picture.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on ends, and only tests use this library"
)]

pub mod audit;
mod authority;
pub mod batches;
pub mod cable;
pub mod collector;
pub mod console;
pub mod crowd;
pub mod demo;
pub mod forward_proxy;
pub mod helm;
pub mod history;
pub mod hub;
pub mod installed;
pub mod jobs;
pub mod kueue;
pub mod measure;
pub mod neighbours;
pub mod operated;
pub mod pods;
pub mod proxy;
pub mod receiver;
pub mod runner;
pub mod s3_answers;
pub mod s3_proxy;
pub mod script;
mod served;
pub mod shards;
pub mod shared;
pub mod skew;
pub mod tiny;
pub mod tls_front;
pub mod visitor;

pub use cable::Cable;
pub use forward_proxy::ForwardProxy;
pub use helm::Helm;
pub use history::History;
pub use installed::Installed;
pub use operated::{Operated, Options};
pub use pods::Pods;
pub use runner::{Attempt, ScriptedRunner};
pub use shared::Shared;
pub use visitor::Visitor;
