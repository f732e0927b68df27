//! The operator: watches InferenceJobs, runs them on runners, and writes their statuses.
//!
//! A job's way through the code: `dispatch` observes it on the watch. `job::decide` decides what it
//! needs, `pool::resolve` where it may run, and `dispatch::queue` when. After the attempt,
//! `job::retry` decides what follows, and `job::write` writes it. `callback` sends the webhook of
//! a finished job, and `sweep` deletes objects from the bucket that no job needs any more.
//! `apply_pools` is a separate command that a release runs once.

#![allow(
    missing_docs,
    reason = "only this program and its tests use the library"
)]

pub mod apply_pools;
mod batch;
mod callback;
pub mod config;
mod dispatch;
mod events;
mod fair_queue;
#[cfg(test)]
mod fixtures;
mod installation;
mod job;
pub mod kill_points;
mod leader;
pub mod metrics;
pub mod pool;
mod reuse;
pub mod run;
pub mod serve;
pub mod store_probe;
mod sweep;
pub mod time;
mod trace;
