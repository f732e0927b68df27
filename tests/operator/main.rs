//! The operator on a real control plane, with scripted runners: see `fovea_tests::script`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod attempts;
mod batches;
mod callbacks;
mod clock;
mod cluster_faults;
mod events;
mod fairness;
mod half_open;
mod killed;
mod kstatus;

mod leading;
mod life;
mod memory;
mod namespaces;
mod operation;
mod ownership;
mod pools;
mod quota;
mod release;
mod restore;
mod restored;
mod retention;
mod rights;
mod runner_faults;
mod store_faults;
mod sweeping;
mod wrong_lists;
