//! The memory of responses, which tenants share: a client may read one slowly, or not at all.

use crate::budget::{Budget, Reservation};
use crate::error::{Problem, ProblemType};
use crate::metrics::Metrics;
use crate::shares::{Parties, Permit, Shares};
use std::time::Duration;

/// Longest wait for a share.
const WAIT: Duration = Duration::from_secs(1);
/// `Retry-After` of a response that got none.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Half of the budget, in shares.
#[derive(Clone, Debug)]
pub(crate) struct Responses {
    pool: Shares,
    budget: Budget,
}

/// Memory of a response, which is free again once this is dropped.
pub(crate) type ResponseMemory = (Permit, Reservation);

impl Responses {
    /// Responses from a budget of `memory_bytes`.
    pub(crate) fn new(memory_bytes: usize, budget: Budget, metrics: &Metrics) -> Self {
        Self {
            pool: Shares::new("responses", memory_bytes / 2, metrics),
            budget,
        }
    }

    /// Reserves bytes, for which it waits a moment.
    pub(crate) async fn reserve(
        &self,
        parties: Parties,
        bytes: usize,
    ) -> Result<ResponseMemory, Problem> {
        let share = self.pool.acquire_many(parties, bytes, WAIT).await;
        let full = ProblemType::Overloaded;
        let share = share
            .map_err(|refused| refused.problem(full, "large responses", RETRY_AFTER_SECONDS))?;
        Ok((share, self.budget.reserve(bytes).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tenant_whose_responses_are_not_read_leaves_memory_for_another_s() {
        let budget = Budget::new(1000);
        let responses = Responses::new(1000, budget.clone(), &Metrics::new());
        let parties = |user| Parties::of(None, Some(user));
        let mut unread = Vec::new();
        let refused = loop {
            match responses.reserve(parties("slow"), 50).await {
                Ok(memory) => unread.push(memory),
                Err(problem) => break problem,
            }
        };
        assert_eq!(
            (unread.len(), refused.kind),
            (5, ProblemType::TooManyAtOnce)
        );
        let other = responses.reserve(parties("other"), 125).await;
        assert!(other.is_ok());
        // It waits for its own.
        let waiting = tokio::spawn({
            let (responses, parties) = (responses.clone(), parties("slow"));
            async move { responses.reserve(parties, 50).await }
        });
        tokio::task::yield_now().await;
        unread.clear();
        drop(other);
        let memory = waiting.await.unwrap().unwrap();
        drop(memory);
        assert!(budget.try_reserve(1000).is_ok());
        let nobody = responses.reserve(Parties::NONE, 501).await;
        assert_eq!(nobody.unwrap_err().kind, ProblemType::Overloaded);
    }
}
