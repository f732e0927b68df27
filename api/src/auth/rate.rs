//! Rate limits: one bucket per user or address, which refills evenly (GCRA, by `governor`).

use crate::config::{AuthMode, RatesConfig};
use crate::error::{Problem, ProblemType};
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Default limits with authentication, in requests per second.
const WRITES: u32 = 100;
const READS: u32 = 500;
/// Maximum number of buckets per limit, 16 bytes each; further clients share one.
const MAX_KEYS: usize = 100_000;
/// Interval between removals of full buckets.
const SWEEP: Duration = Duration::from_secs(10);

pub(crate) struct Rates {
    writes: Option<Limit>,
    reads: Option<Limit>,
    token_reviews: Option<Limit>,
}

impl Rates {
    pub(crate) fn new(config: &RatesConfig, mode: AuthMode) -> Self {
        // Without users the key is an address, which all clients behind a load balancer share.
        let default = |rate: u32| if mode == AuthMode::None { 0 } else { rate };
        Self {
            writes: Limit::new(config.writes.unwrap_or(default(WRITES))),
            reads: Limit::new(config.reads.unwrap_or(default(READS))),
            token_reviews: Limit::new(config.token_reviews),
        }
    }

    pub(crate) fn request(&self, client: &impl Hash, reads: bool) -> Result<(), TooMany> {
        let limit = if reads { &self.reads } else { &self.writes };
        limit.as_ref().map_or(Ok(()), |limit| limit.take(client))
    }

    /// Charges the client for a token that is not cached.
    pub(crate) fn token_review(&self, client: &impl Hash) -> Result<(), TooMany> {
        let limit = self.token_reviews.as_ref();
        limit.map_or(Ok(()), |limit| limit.take(client))
    }
}

/// A limit is exceeded; a request succeeds after `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests: wait for {seconds} s, and send fewer")]
pub(crate) struct TooMany {
    pub(crate) seconds: u32,
}

impl From<TooMany> for Problem {
    fn from(error: TooMany) -> Self {
        Self::new(ProblemType::RateLimited, error.to_string()).retry_after(error.seconds)
    }
}

struct Limit {
    buckets: RateLimiter<u64, DashMapStateStore<u64>, DefaultClock>,
    clock: DefaultClock,
    hasher: RandomState,
    swept: Mutex<Instant>,
}

impl Limit {
    /// `rate` requests per second, and bursts of twice as many.
    fn new(rate: u32) -> Option<Self> {
        let rate = NonZeroU32::new(rate)?;
        let quota = Quota::per_second(rate)
            .allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        Some(Self {
            buckets: RateLimiter::dashmap(quota),
            clock: DefaultClock::default(),
            hasher: RandomState::new(),
            swept: Mutex::new(Instant::now()),
        })
    }

    fn take(&self, client: &impl Hash) -> Result<(), TooMany> {
        self.sweep();
        // A hash, so that the length of a name does not matter; keyed, so that none can be made to collide.
        let key = if self.buckets.len() < MAX_KEYS {
            self.hasher.hash_one(client)
        } else {
            0
        };
        self.buckets.check_key(&key).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
            TooMany {
                seconds: seconds.saturating_add(1),
            }
        })
    }

    fn sweep(&self) {
        let Ok(mut swept) = self.swept.try_lock().or_else(|error| match error {
            std::sync::TryLockError::Poisoned(poisoned) => {
                Ok::<_, ()>(PoisonError::into_inner(poisoned))
            }
            std::sync::TryLockError::WouldBlock => Err(()),
        }) else {
            return;
        };
        if swept.elapsed() >= SWEEP {
            *swept = Instant::now();
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_must_wait_after_a_burst() {
        let limit = Limit::new(3).unwrap();
        for _ in 0..6 {
            assert_eq!(limit.take(&"a"), Ok(()));
        }
        assert_eq!(limit.take(&"a"), Err(TooMany { seconds: 1 }));
        assert_eq!(limit.take(&"b"), Ok(()));
    }

    #[test]
    fn a_limit_of_0_is_disabled() {
        assert!(Limit::new(0).is_none());
    }

    #[test]
    fn memory_is_bounded_for_any_number_of_clients() {
        let limit = Limit::new(1).unwrap();
        for client in 0..MAX_KEYS + 1000 {
            let _ = limit.take(&client);
        }
        assert!(limit.buckets.len() <= MAX_KEYS + 1);
        assert!(limit.take(&"one more").is_err());
    }

    #[test]
    fn without_users_only_configured_limits_apply() {
        let config = |writes| RatesConfig {
            writes,
            reads: None,
            token_reviews: 0,
            trusted_proxies: Vec::new(),
            forwarded_header: crate::config::ForwardedHeader::XForwardedFor,
        };
        assert!(Rates::new(&config(None), AuthMode::None).writes.is_none());
        assert!(
            Rates::new(&config(Some(1)), AuthMode::None)
                .writes
                .is_some()
        );
        assert!(
            Rates::new(&config(None), AuthMode::Kubernetes)
                .writes
                .is_some()
        );
        assert!(
            Rates::new(&config(Some(0)), AuthMode::Kubernetes)
                .writes
                .is_none()
        );
    }
}
