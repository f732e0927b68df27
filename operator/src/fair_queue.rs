//! A queue that is fair between namespaces. Pure.
//!
//! Fairness is start-time fair queueing (Goyal, Vin and Cheng, 1996): each item that leaves the queue
//! advances its namespace's pass by the item's cost, divided by the namespace's weight, and the lowest
//! pass goes first. The cost is an estimate at first, which [`FairQueue::settle`] corrects. A namespace
//! that had nothing waiting goes on at the current pass, so that idleness earns no credit.
//!
//! Within a namespace items wait in lanes: a lane without room does not hold up the others.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// Number of namespaces up to which idle ones are not looked for.
const FEW: usize = 64;

/// The advance of a pass for a microsecond at weight 1: so fine that the greatest weight divides it. A pass
/// lasts for 500,000 years of work.
const SCALE: u64 = 1000;

/// Upper bound on the credit of a namespace whose items could not have their turn, as those of a model without a
/// runner: at weight 1 it catches up on no more than this.
const MOST_CREDIT: Duration = Duration::from_mins(1);

pub(crate) trait Item: Clone + PartialEq {
    /// The order within a lane; equal ones go by id.
    type Order: Ord;

    /// Whether the lanes of a namespace take turns. Otherwise the first item of all lanes goes first.
    const LANES_TAKE_TURNS: bool;

    fn id(&self) -> &str;
    fn namespace(&self) -> &str;
    fn lane(&self) -> &str;
    /// Its place within the lane: lower ones go first.
    fn order(&self) -> Self::Order;
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Weight by namespace; 1 where none is given.
    pub weights: HashMap<String, u32>,
    /// Upper bound on the items of one namespace in flight.
    pub max_in_flight: Option<u32>,
    /// Namespaces whose items all wait.
    pub closed: HashSet<String>,
}

/// The advance of a pass by so much work, at weight 1.
fn stride(cost: Duration) -> u64 {
    let micros = u64::try_from(cost.as_micros()).unwrap_or(u64::MAX);
    micros.saturating_mul(SCALE)
}

/// A lane of a namespace whose first item could be next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub namespace: &'a str,
    pub lane: &'a str,
    /// Items of the namespace in flight.
    pub in_flight: u32,
}

impl Shares {
    pub(crate) fn weight(&self, namespace: &str) -> u32 {
        self.weights.get(namespace).copied().unwrap_or(1).max(1)
    }

    /// The advance of a namespace's pass by so much work.
    fn stride(&self, namespace: &str, cost: Duration) -> u64 {
        stride(cost) / u64::from(self.weight(namespace))
    }

    /// How many items the namespace may have in flight.
    fn most(&self, namespace: &str) -> u32 {
        if self.closed.contains(namespace) {
            return 0;
        }
        self.max_in_flight.unwrap_or(u32::MAX)
    }
}

#[derive(Debug)]
struct Lane<O> {
    waiting: BTreeSet<(O, String)>,
    pass: u64,
}

#[derive(Debug)]
struct Tenant<O> {
    lanes: HashMap<String, Lane<O>>,
    in_flight: u32,
    pass: u64,
    /// The greatest pass of a lane that had a turn; it never goes back.
    lane_now: u64,
}

/// Waiting items, and how many of each namespace are in flight.
#[derive(Debug)]
pub(crate) struct FairQueue<T: Item> {
    tenants: HashMap<String, Tenant<T::Order>>,
    waiting: HashMap<String, T>,
    /// The greatest pass of a namespace that had a turn; it never goes back.
    now: u64,
    /// Number of namespaces at which idle ones are looked for.
    many: usize,
}

impl<T: Item> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            tenants: HashMap::new(),
            waiting: HashMap::new(),
            now: 0,
            many: FEW,
        }
    }
}

impl<O> Default for Tenant<O> {
    fn default() -> Self {
        Self {
            lanes: HashMap::new(),
            in_flight: 0,
            pass: 0,
            lane_now: 0,
        }
    }
}

impl<T: Item> FairQueue<T> {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The number of namespaces that are remembered.
    pub(crate) fn namespaces(&self) -> usize {
        self.tenants.len()
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.waiting.contains_key(id)
    }

    /// Whether items of the namespace wait or are in flight.
    pub(crate) fn is_busy(&self, namespace: &str) -> bool {
        let tenant = self.tenants.get(namespace);
        tenant.is_some_and(|tenant| tenant.in_flight > 0 || !tenant.lanes.is_empty())
    }

    /// The waiting items, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.values()
    }

    /// The number of waiting items that `shares` would let go at once. The others wait for items of
    /// their own namespace, and more capacity would not help them. What holds an item back in
    /// [`FairQueue::pop`] beside the shares does not count.
    pub(crate) fn runnable(&self, shares: &Shares) -> usize {
        let of = |(namespace, tenant): (&String, &Tenant<T::Order>)| {
            let waiting: usize = tenant.lanes.values().map(|lane| lane.waiting.len()).sum();
            let most = shares.most(namespace);
            waiting.min(most.saturating_sub(tenant.in_flight) as usize)
        };
        self.tenants.iter().map(of).sum()
    }

    /// Adds an item, or moves it where it has changed.
    pub(crate) fn push(&mut self, item: T) {
        if self.waiting.get(item.id()) == Some(&item) {
            return;
        }
        self.remove(item.id());
        self.forget_idle();
        let tenant = self.tenants.entry(item.namespace().to_owned()).or_default();
        if tenant.lanes.is_empty() {
            tenant.pass = tenant.pass.max(self.now);
        }
        let pass = tenant.lane_now;
        let lane = tenant.lanes.entry(item.lane().to_owned());
        let lane = lane.or_insert_with(|| Lane {
            waiting: BTreeSet::new(),
            pass,
        });
        lane.waiting.insert((item.order(), item.id().to_owned()));
        self.waiting.insert(item.id().to_owned(), item);
    }

    /// Removes a waiting item; false where it does not wait here.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        let Some(item) = self.waiting.remove(id) else {
            return false;
        };
        if let Some(tenant) = self.tenants.get_mut(item.namespace()) {
            if let Some(lane) = tenant.lanes.get_mut(item.lane()) {
                lane.waiting.remove(&(item.order(), id.to_owned()));
                if lane.waiting.is_empty() {
                    tenant.lanes.remove(item.lane());
                }
            }
            self.forget_if_idle(item.namespace());
        }
        true
    }

    /// Takes the next item of a lane that `may` go. It counts as in flight until [`FairQueue::finished`], and
    /// its namespace is charged its `cost`.
    pub(crate) fn pop(
        &mut self,
        shares: &Shares,
        may: impl Fn(Candidate<'_>) -> bool,
        cost: impl Fn(&T) -> Duration,
    ) -> Option<(T, Duration)> {
        let least = self.now.saturating_sub(stride(MOST_CREDIT));
        let open = self.tenants.iter();
        let open = open.filter(|(namespace, tenant)| tenant.in_flight < shares.most(namespace));
        let candidates = open.filter_map(|(namespace, tenant)| {
            let in_flight = tenant.in_flight;
            let lanes = (tenant.lanes.iter()).filter(|(lane, _)| {
                may(Candidate {
                    namespace,
                    lane,
                    in_flight,
                })
            });
            let firsts = lanes.filter_map(|(_, lane)| {
                let turn = if T::LANES_TAKE_TURNS { lane.pass } else { 0 };
                Some((turn, lane.waiting.first()?))
            });
            let (_, (_, id)) = firsts.min()?;
            Some((tenant.pass.max(least), namespace, id))
        });
        let (pass, _, id) = candidates.min()?;
        let item = self.waiting.get(id)?.clone();
        self.now = self.now.max(pass);
        let cost = cost(&item);
        if let Some(tenant) = self.tenants.get_mut(item.namespace()) {
            tenant.pass = pass.saturating_add(shares.stride(item.namespace(), cost));
            tenant.in_flight += 1;
            if let Some(lane) = tenant.lanes.get_mut(item.lane()) {
                // Behind every lane that had a turn: a lane that empties and comes back gains nothing.
                lane.pass = lane.pass.max(tenant.lane_now) + 1;
                tenant.lane_now = lane.pass;
            }
        }
        self.remove(item.id());
        Some((item, cost))
    }

    /// An item in flight that was `charged` so much has cost this instead.
    pub(crate) fn settle(
        &mut self,
        shares: &Shares,
        namespace: &str,
        charged: Duration,
        cost: Duration,
    ) {
        if let Some(tenant) = self.tenants.get_mut(namespace) {
            let pass = (tenant.pass).saturating_add(shares.stride(namespace, cost));
            tenant.pass = pass.saturating_sub(shares.stride(namespace, charged));
        }
    }

    /// A namespace is no longer in [`Shares::closed`]: that it had no turn meanwhile earns no credit.
    pub(crate) fn reopened(&mut self, namespace: &str) {
        if let Some(tenant) = self.tenants.get_mut(namespace) {
            tenant.pass = tenant.pass.max(self.now);
        }
    }

    /// An item that [`FairQueue::pop`] returned is no longer in flight.
    pub(crate) fn finished(&mut self, namespace: &str) {
        if let Some(tenant) = self.tenants.get_mut(namespace) {
            tenant.in_flight = tenant.in_flight.saturating_sub(1);
            self.forget_if_idle(namespace);
        }
    }

    /// Drops the idle namespaces whose pass no longer matters, each time that the table has doubled.
    fn forget_idle(&mut self) {
        if self.tenants.len() < self.many {
            return;
        }
        let now = self.now;
        self.tenants.retain(|_, tenant| {
            !tenant.lanes.is_empty() || tenant.in_flight > 0 || tenant.pass > now
        });
        self.many = FEW.max(2 * self.tenants.len());
    }

    /// Keeps the table of namespaces as small as the work: an idle namespace is dropped once its
    /// pass no longer matters.
    fn forget_if_idle(&mut self, namespace: &str) {
        let now = self.now;
        if self.tenants.get(namespace).is_some_and(|tenant| {
            tenant.lanes.is_empty() && tenant.in_flight == 0 && tenant.pass <= now
        }) {
            self.tenants.remove(namespace);
        }
        if self.waiting.is_empty() && self.tenants.values().all(|tenant| tenant.in_flight == 0) {
            self.tenants.clear();
            self.now = 0;
        }
    }

    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = u32> {
        self.tenants.values().map(|tenant| tenant.in_flight)
    }

    /// Whether the queue holds no memory of anything.
    #[cfg(test)]
    pub(crate) fn remembers_nothing(&self) -> bool {
        self.waiting.is_empty() && self.tenants.is_empty()
    }
}
