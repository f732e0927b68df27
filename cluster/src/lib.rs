//! How Fovea's programs observe a cluster: one rule for every list and watch, and what the API
//! server's answers prove.
//!
//! Silence is not health: every request of a [`watch()`] has a deadline, and [`Watches`] tells how long
//! ago each watch has proven that it works.

mod access;
mod answer;
mod clock;
mod job;
mod namespace;
mod proof;
mod stream;
mod watch;

pub use access::{AccessError, kube_config};
pub use answer::{found, is_not_found};
pub use clock::{ClockLayer, ClusterClock};
pub use job::{decoded, read_inline, read_job};
pub use namespace::{
    CLUSTER_NAMESPACE, NamespaceError, NamespaceFacts, UID_LIFETIME, read_namespace,
};
pub use proof::{Proof, STALE_AFTER, Watches};
pub use stream::{Page, read_page, request};
pub use watch::{ANSWER_LIMIT, Events, READ_LIMIT, WatchError, watch};
