//! Turns to create and to delete jobs, which tenants share.

use crate::error::{Problem, ProblemType};
use crate::metrics::Metrics;
use crate::shares::{Parties, Permit, Shares};
use std::time::Duration;

/// Turns of requests that create or delete a job. One is held for that request to the API server alone.
#[derive(Clone)]
pub(crate) struct Writes {
    turns: Shares,
    patience: Duration,
}

impl Writes {
    /// `max` turns at a time, for each of which a request waits for at most `patience`.
    pub(crate) fn new(max: usize, patience: Duration, metrics: &Metrics) -> Self {
        let turns = Shares::new("writes", max, metrics);
        Self { turns, patience }
    }

    /// Waits for a turn; without one, nothing has been created or deleted.
    pub(crate) async fn turn(&self, parties: Parties) -> Result<Permit, Problem> {
        let turn = self.turns.acquire(parties, self.patience).await;
        let full = ProblemType::ClusterUnavailable;
        turn.map_err(|refused| refused.problem(full, "submissions and deletions", 2))
    }
}
