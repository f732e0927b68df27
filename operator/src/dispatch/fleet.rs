//! The runners of one pool: their health, and the jobs on each. Pure state; [`super::links`] checks
//! the runners.

use super::attempt::RunnerWas;
use super::runners::RunnerClient;
use crate::pool::load::{Health, RunnerLoad};
use fovea_crds::ServedModel;
use fovea_protocol::{LeaderRequest, RunnerState};
use std::collections::BTreeMap;

/// A health check's result.
pub(crate) type Check = Result<Answer, Failure>;

/// A runner's answer to a health check.
#[derive(Debug)]
pub(crate) struct Answer {
    pub client: RunnerClient,
    /// This leader, as it was announced to the runner.
    pub leader: LeaderRequest,
    pub state: RunnerState,
}

/// Why a health check failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Unavailable(String),
    /// The runner refuses this leader's epoch.
    StaleEpoch(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Unavailable(why)
    }
}

#[derive(Debug)]
struct Runner {
    health: Health,
    /// Present while it is up.
    connection: Option<Connection>,
    in_flight: u32,
    shards_in_flight: u32,
    /// Whether this instance has finished a job.
    proven: bool,
    /// It had no room or dropped a job: it gets no jobs until the next check.
    resting: bool,
    /// It is about to be removed: it finishes its jobs and gets no new ones.
    leaving: bool,
}

/// What the last successful check has shown.
#[derive(Debug)]
struct Connection {
    client: RunnerClient,
    leader: LeaderRequest,
    instance: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// As the pool's spec writes it, or the pod's URL.
    pub(crate) endpoint: String,
    pub(crate) client: RunnerClient,
    /// This leader, as it was announced to the runner.
    pub(crate) leader: LeaderRequest,
    /// Whether this instance has finished a job before, and has none now.
    pub(crate) idle_and_proven: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    runners: BTreeMap<String, Runner>,
}

impl Fleet {
    /// Keeps the runners at these endpoints only, and adds those that are new.
    pub(crate) fn keep(&mut self, endpoints: &[String]) {
        self.runners
            .retain(|endpoint, _| endpoints.contains(endpoint));
        for endpoint in endpoints {
            self.runners
                .entry(endpoint.clone())
                .or_insert_with(|| Runner {
                    health: Health::Unchecked,
                    connection: None,
                    in_flight: 0,
                    shards_in_flight: 0,
                    proven: false,
                    resting: false,
                    leaving: false,
                });
        }
    }

    /// Stops or resumes giving new jobs to a runner.
    pub(crate) fn leave(&mut self, endpoint: &str, leaving: bool) {
        if let Some(runner) = self.runners.get_mut(endpoint) {
            runner.leaving = leaving;
        }
    }

    pub(crate) fn report(&mut self, endpoint: &str, check: Check) {
        let Some(runner) = self.runners.get_mut(endpoint) else {
            return;
        };
        runner.resting = false;
        let before = runner.connection.take();
        match check {
            Ok(answer) => {
                let Answer {
                    client,
                    leader,
                    state,
                } = answer;
                runner.proven &= before.is_some_and(|before| before.instance == state.instance);
                runner.connection = Some(Connection {
                    client,
                    leader,
                    instance: state.instance,
                });
                runner.health = Health::Up {
                    slots: state.slots,
                    shard_slots: state.shard_slots,
                    models: state.models,
                };
            }
            Err(failure) => {
                runner.proven = false;
                runner.health = match (failure, &runner.health) {
                    (Failure::StaleEpoch(why), _) => Health::Refusing(why),
                    (Failure::Unavailable(why), Health::Unchecked | Health::Starting(_)) => {
                        Health::Starting(why)
                    }
                    (Failure::Unavailable(why), _) => Health::Down(why),
                };
            }
        }
    }

    /// Whether each runner has been checked at least once.
    pub(crate) fn is_checked(&self) -> bool {
        self.health().all(|health| *health != Health::Unchecked)
    }

    /// Whether some runner could take a job for `model` now.
    pub(crate) fn has_room(&self, model: &str) -> bool {
        self.runners
            .values()
            .any(|runner| runner.free_slots(model) > 0)
    }

    /// Takes a slot of the least loaded runner that serves `model`, another one than `avoid`
    /// where there is a choice.
    pub(crate) fn choose(&mut self, model: &str, avoid: Option<&str>) -> Option<Chosen> {
        let (endpoint, runner) = self
            .runners
            .iter_mut()
            .filter(|(_, runner)| runner.free_slots(model) > 0)
            .min_by(|(_, a), (_, b)| a.preference(avoid).total_cmp(&b.preference(avoid)))?;
        let connection = runner.connection.as_ref()?;
        let chosen = Chosen {
            endpoint: endpoint.clone(),
            client: connection.client.clone(),
            leader: connection.leader.clone(),
            idle_and_proven: runner.proven && runner.in_flight == 0,
        };
        runner.in_flight += 1;
        Some(chosen)
    }

    /// Frees the slot of a job that has ended on its runner.
    pub(crate) fn released(&mut self, endpoint: &str, was: RunnerWas) {
        let Some(runner) = self.runners.get_mut(endpoint) else {
            return;
        };
        runner.in_flight = runner.in_flight.saturating_sub(1);
        match was {
            RunnerWas::Fine => runner.proven = true,
            RunnerWas::Unavailable => runner.resting = true,
        }
    }

    /// Whether some runner could take a shard for `model` now.
    pub(crate) fn has_room_for_shard(&self, model: &str) -> bool {
        let mut runners = self.runners.values();
        runners.any(|runner| runner.free_shard_slots(model) > 0)
    }

    /// Jobs that the runners can have at once.
    pub(crate) fn places(&self) -> u32 {
        let places = |health: &Health| match health {
            Health::Up { slots, .. } => *slots,
            _ => 0,
        };
        self.health().map(places).sum()
    }

    /// Shards that the runners can have at once.
    pub(crate) fn shard_places(&self) -> u32 {
        let places = |health: &Health| match health {
            Health::Up { shard_slots, .. } => *shard_slots,
            _ => 0,
        };
        self.health().map(places).sum()
    }

    /// Takes a shard's place on the runner with the fewest shards that serves `model`.
    pub(crate) fn choose_for_shard(&mut self, model: &str) -> Option<(Chosen, ServedModel)> {
        let free = self
            .runners
            .iter_mut()
            .filter(|(_, runner)| runner.free_shard_slots(model) > 0);
        let (endpoint, runner) = free.min_by_key(|(_, runner)| runner.shards_in_flight)?;
        let connection = runner.connection.as_ref()?;
        let mut models = runner.health.models().iter();
        let served = models.find(|known| known.name == model)?;
        let served = ServedModel {
            name: served.name.clone(),
            revision: served.revision.clone(),
        };
        let chosen = Chosen {
            endpoint: endpoint.clone(),
            client: connection.client.clone(),
            leader: connection.leader.clone(),
            idle_and_proven: false,
        };
        runner.shards_in_flight += 1;
        Some((chosen, served))
    }

    /// Frees the place of a shard whose attempt has ended.
    pub(crate) fn shard_released(&mut self, endpoint: &str, was: RunnerWas) {
        if let Some(runner) = self.runners.get_mut(endpoint) {
            runner.shards_in_flight = runner.shards_in_flight.saturating_sub(1);
            runner.resting |= was == RunnerWas::Unavailable;
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.runners.values().map(|runner| runner.in_flight).sum()
    }

    pub(crate) fn shards_in_flight(&self) -> u32 {
        let runners = self.runners.values();
        runners.map(|runner| runner.shards_in_flight).sum()
    }

    pub(crate) fn runners_with_shards(&self) -> u32 {
        let with_shards = |runner: &&Runner| runner.shards_in_flight > 0;
        let count = self.runners.values().filter(with_shards).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    pub(crate) fn loads(&self) -> BTreeMap<String, RunnerLoad> {
        let load = |runner: &Runner| RunnerLoad {
            health: runner.health.clone(),
            running: runner.in_flight + runner.shards_in_flight,
        };
        let runners = self.runners.iter();
        runners
            .map(|(endpoint, runner)| (endpoint.clone(), load(runner)))
            .collect()
    }

    pub(crate) fn health(&self) -> impl Iterator<Item = &Health> {
        self.runners.values().map(|runner| &runner.health)
    }
}

impl Runner {
    fn free_slots(&self, model: &str) -> u32 {
        match &self.health {
            Health::Up { slots, .. }
                if !self.resting && !self.leaving && self.health.serves([model]) =>
            {
                slots.saturating_sub(self.in_flight)
            }
            _ => 0,
        }
    }

    fn free_shard_slots(&self, model: &str) -> u32 {
        match self.health {
            Health::Up { shard_slots, .. }
                if !self.resting && !self.leaving && self.health.serves([model]) =>
            {
                shard_slots.saturating_sub(self.shards_in_flight)
            }
            _ => 0,
        }
    }

    /// Lower is better: the share of busy slots; far higher for the runner to be avoided.
    fn preference(&self, avoid: Option<&str>) -> f64 {
        let (Health::Up { slots, .. }, Some(connection)) = (&self.health, &self.connection) else {
            return f64::INFINITY;
        };
        let avoided = avoid == Some(connection.client.address().as_str());
        let penalty = if avoided { 1e6 } else { 0.0 };
        f64::from(self.in_flight) / f64::from((*slots).max(1)) + penalty
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
