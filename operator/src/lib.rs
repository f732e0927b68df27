//! The operator: watches InferenceJobs, gives them to runners, writes their statuses.
//!
//! A job's way through the code: [`dispatch`] sees it on the watch, [`job::decide`] says what to
//! do about it, [`pool::resolve`] where it may run, [`dispatch::queue`] when, and the attempt's
//! task writes what [`job::retry`] makes of its end through [`job::write`]. What a finished
//! job still has to tell is told by [`callback`]; [`sweep`] deletes from the bucket what no job needs
//! any more. [`apply_pools`] is a program of its own beside all that: what a release runs once.

pub mod apply_pools;
pub mod callback;
pub mod config;
pub mod dispatch;
pub mod events;
pub mod fair_queue;
pub mod job;
pub mod kill_points;
pub mod leader;
pub mod metrics;
pub mod pool;
pub mod run;
pub mod serve;
pub mod sweep;
mod trace;
