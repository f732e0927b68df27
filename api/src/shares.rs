//! Pools of permits that tenants share, so that none keeps the others out.
//!
//! A party is a user or a namespace. Alone it holds at most half of a pool, beside others it begins nothing beyond a
//! quarter, and it never holds more than it leaves free, so that a newcomer finds room at once. Its only request goes
//! on for as long as there is any room. Permits that are held for long cannot be taken back, so nothing is ever lent beyond this.

use crate::error::{Problem, ProblemType};
use crate::metrics::{Metrics, Refusals};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// A party beside others holds at most the pool's size divided by this.
const SHARES: usize = 4;
/// Time between the tries of a request that waits for several permits.
const POLL: Duration = Duration::from_millis(20);

/// The parties on whose shares a request draws. Without any, only the pool's size bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Parties([Option<u64>; 2]);

impl Parties {
    /// No party: without authentication, where all clients are one tenant.
    pub(crate) const NONE: Self = Self([None; 2]);

    /// The parties of these kinds and names.
    pub(crate) fn of(namespace: Option<&str>, user: Option<&str>) -> Self {
        Self([
            namespace.map(|name| hash(&("namespace", name))),
            user.map(|name| hash(&("user", name))),
        ])
    }

    /// One party of another kind, such as a client's address.
    pub(crate) fn one(party: &impl Hash) -> Self {
        Self([Some(hash(&("other", party))), None])
    }

    fn keys(self) -> impl Iterator<Item = u64> {
        self.0.into_iter().flatten()
    }
}

/// The parties of a request, known once its user is, for what outlives its handler.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartiesOf(Arc<OnceLock<Parties>>);

impl PartiesOf {
    pub(crate) fn set(&self, parties: Parties) {
        // A request has one tenant.
        let _ = self.0.set(parties);
    }

    /// [`Parties::NONE`] if no user was needed, or none was admitted.
    pub(crate) fn get(&self) -> Parties {
        self.0.get().copied().unwrap_or(Parties::NONE)
    }
}

/// A keyed hash: the length of a name does not matter, and none can be made to collide.
fn hash(party: &impl Hash) -> u64 {
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    HASHER.hash_one(party)
}

/// Why a permit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The pool has no room.
    Full,
    /// One of the parties holds all that it may hold.
    Share,
}

impl Refused {
    /// The client's problem; `full` is the kind for a pool without room, `what` names what its permits are for.
    pub(crate) fn problem(self, full: ProblemType, what: &str, retry_after: u32) -> Problem {
        let problem = match self {
            Self::Full => Problem::new(
                full,
                format!("the limit on concurrent {what} is reached: try again in a moment"),
            ),
            Self::Share => Problem::new(
                ProblemType::TooManyAtOnce,
                format!(
                    "your user or namespace has as many {what} under way as it may have beside others: let some end, and try again"
                ),
            ),
        };
        problem.retry_after(retry_after)
    }
}

/// Who holds how much. Has an entry only for parties that hold something.
#[derive(Debug)]
struct Ledger {
    total: usize,
    used: usize,
    held: HashMap<u64, usize>,
}

impl Ledger {
    fn new(total: usize) -> Self {
        Self {
            total,
            used: 0,
            held: HashMap::new(),
        }
    }

    /// Whether a request that holds `own` may take `wanted` more. The quarter is for new requests: one that holds
    /// something goes on while it leaves room.
    fn check(&self, parties: Parties, own: usize, wanted: usize) -> Result<(), Refused> {
        let free = self.total - self.used;
        let is_admitted = own > 0;
        for key in parties.keys() {
            let held = self.held.get(&key).copied().unwrap_or_default();
            if held == own {
                continue;
            }
            let after = held.saturating_add(wanted);
            let is_alone = held == self.used;
            let leaves_room = after <= free.saturating_sub(wanted);
            let is_bounded = !is_admitted && !is_alone;
            if !leaves_room || (is_bounded && after > self.total / SHARES) {
                return Err(Refused::Share);
            }
        }
        if wanted > free {
            return Err(Refused::Full);
        }
        Ok(())
    }

    fn take(&mut self, parties: Parties, count: usize) {
        self.used += count;
        for key in parties.keys() {
            *self.held.entry(key).or_default() += count;
        }
    }

    fn give(&mut self, parties: Parties, count: usize) {
        self.used -= count;
        for key in parties.keys() {
            if let Some(held) = self.held.get_mut(&key) {
                *held -= count;
                if *held == 0 {
                    self.held.remove(&key);
                }
            }
        }
    }
}

/// A ledger, and the requests that wait for one permit each: a queue for each tenant, served in turn.
#[derive(Debug)]
struct State {
    ledger: Ledger,
    queues: HashMap<Parties, VecDeque<oneshot::Sender<Permit>>>,
    /// The tenants that have a queue, in the order of their turns.
    turns: VecDeque<Parties>,
}

impl State {
    fn wait(&mut self, parties: Parties) -> oneshot::Receiver<Permit> {
        let (sender, receiver) = oneshot::channel();
        let queue = self.queues.entry(parties).or_insert_with(|| {
            self.turns.push_back(parties);
            VecDeque::new()
        });
        queue.push_back(sender);
        receiver
    }

    /// The waiting requests that get a permit now. Their permits must be sent without the lock: one that has no
    /// receiver any more returns itself.
    fn serve(&mut self) -> Vec<(oneshot::Sender<Permit>, Parties)> {
        let mut served = Vec::new();
        // The tenants in a row, at the end of `turns`, that get nothing now.
        let mut passed = 0;
        while passed < self.turns.len() && self.ledger.used < self.ledger.total {
            let Some(parties) = self.turns.pop_front() else {
                break;
            };
            let Some(queue) = self.queues.get_mut(&parties) else {
                continue;
            };
            while queue.front().is_some_and(oneshot::Sender::is_closed) {
                queue.pop_front();
            }
            passed += 1;
            if self.ledger.check(parties, 0, 1).is_ok()
                && let Some(sender) = queue.pop_front()
            {
                self.ledger.take(parties, 1);
                served.push((sender, parties));
                passed = 0;
            }
            if queue.is_empty() {
                self.queues.remove(&parties);
                passed = 0;
            } else {
                self.turns.push_back(parties);
            }
        }
        served
    }
}

/// A pool of permits. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    state: Mutex<State>,
    refusals: Refusals,
}

impl Shares {
    /// A pool of `total` permits, whose refusals are counted under `name`.
    pub(crate) fn new(name: &'static str, total: usize, metrics: &Metrics) -> Self {
        Self(Arc::new(Pool {
            state: Mutex::new(State {
                ledger: Ledger::new(total),
                queues: HashMap::new(),
                turns: VecDeque::new(),
            }),
            refusals: metrics.refusals(name),
        }))
    }

    /// `count` permits, if there is room for them now.
    pub(crate) fn try_acquire(&self, parties: Parties, count: usize) -> Result<Permit, Refused> {
        let mut permit = self.permit(parties, 0);
        permit.grow(count)?;
        Ok(permit)
    }

    /// `count` permits, for which it tries again for at most `patience`. It has no place in a queue, where it would
    /// keep what is free from requests for fewer.
    pub(crate) async fn acquire_many(
        &self,
        parties: Parties,
        count: usize,
        patience: Duration,
    ) -> Result<Permit, Refused> {
        let deadline = Instant::now() + patience;
        loop {
            let is_last = Instant::now() >= deadline;
            if is_last || self.lock().ledger.check(parties, 0, count).is_ok() {
                let taken = self.try_acquire(parties, count);
                if is_last || taken.is_ok() {
                    return taken;
                }
            }
            sleep(POLL).await;
        }
    }

    /// One permit, for which the request waits for at most `patience`.
    pub(crate) async fn acquire(
        &self,
        parties: Parties,
        patience: Duration,
    ) -> Result<Permit, Refused> {
        let receiver = {
            let mut state = self.lock();
            let has_queue = state.queues.contains_key(&parties);
            if !has_queue && state.ledger.check(parties, 0, 1).is_ok() {
                state.ledger.take(parties, 1);
                None
            } else {
                Some(state.wait(parties))
            }
        };
        let Some(receiver) = receiver else {
            return Ok(self.permit(parties, 1));
        };
        if let Ok(Ok(permit)) = timeout(patience, receiver).await {
            return Ok(permit);
        }
        let refused = self.lock().ledger.check(parties, 0, 1);
        let refused = refused.err().unwrap_or(Refused::Full);
        self.0.refusals.count(refused == Refused::Full);
        Err(refused)
    }

    /// Whether a request could take `count` permits now.
    pub(crate) fn has_room(&self, parties: Parties, count: usize) -> Result<(), Refused> {
        let room = self.lock().ledger.check(parties, 0, count);
        room.inspect_err(|refused| self.0.refusals.count(*refused == Refused::Full))
    }

    fn permit(&self, parties: Parties, count: usize) -> Permit {
        Permit {
            pool: self.clone(),
            parties,
            count,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, parties: Parties, count: usize) {
        let served = {
            let mut state = self.lock();
            state.ledger.give(parties, count);
            state.serve()
        };
        for (sender, parties) in served {
            // A permit that nobody receives any more is dropped here, which serves the next one.
            let _ = sender.send(self.permit(parties, 1));
        }
    }
}

/// Permits of a pool, which are returned when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pool: Shares,
    parties: Parties,
    count: usize,
}

impl Permit {
    /// Takes more permits, if there is room for them now.
    pub(crate) fn grow(&mut self, count: usize) -> Result<(), Refused> {
        let mut state = self.pool.lock();
        let checked = state.ledger.check(self.parties, self.count, count);
        if let Err(refused) = checked {
            self.pool.0.refusals.count(refused == Refused::Full);
            return Err(refused);
        }
        state.ledger.take(self.parties, count);
        self.count += count;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.count > 0 {
            self.pool.give(self.parties, self.count);
        }
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
