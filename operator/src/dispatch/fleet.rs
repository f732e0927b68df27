//! The runners of one pool: which are up, what they serve, and who is least loaded. Pure state;
//! the asking is done by [`super::links`].

use super::runners::RunnerClient;
use super::task::RunnerWas;
use fovea_protocol::RunnerState;
use std::collections::BTreeMap;

/// What asking a runner has shown.
#[derive(Clone, Debug)]
pub(crate) enum Health {
    /// It answers, and obeys this leader.
    Up {
        /// How to speak to it.
        client: RunnerClient,
        /// What it says of itself.
        state: RunnerState,
    },
    /// It does not, and why.
    Down(String),
    /// It has not yet, and why.
    Starting(String),
}

impl Health {
    /// Whether the runner has each of these models, and has it ready.
    pub(crate) fn serves<'a>(&self, models: impl IntoIterator<Item = &'a str>) -> bool {
        let Self::Up { state, .. } = self else {
            return false;
        };
        let is_ready = |name: &str| {
            let mut known = state.models.iter();
            known.any(|each| each.name == name && each.ready)
        };
        models.into_iter().all(is_ready)
    }

    /// Whether the runner says of one of its models that it cannot have it.
    pub(crate) fn has_failed(&self) -> bool {
        match self {
            Self::Up { state, .. } => state.models.iter().any(|each| each.failure.is_some()),
            Self::Down(_) | Self::Starting(_) => false,
        }
    }
}

/// One runner.
#[derive(Debug)]
struct Runner {
    health: Health,
    in_flight: u32,
    /// Whether this instance has finished a job for us.
    proven: bool,
    /// It had no room or broke off: left alone until it has been asked again.
    resting: bool,
    /// It is about to end: what it has it may finish.
    leaving: bool,
}

/// A runner chosen for a job.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// Its endpoint, as the pool's spec writes it.
    pub(crate) endpoint: String,
    /// How to speak to it.
    pub(crate) client: RunnerClient,
    /// Whether this instance has served another job, and has none at the moment.
    pub(crate) idle_and_proven: bool,
}

/// The runners of a pool, by endpoint.
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
                    health: Health::Starting("it has not been asked yet".to_owned()),
                    in_flight: 0,
                    proven: false,
                    resting: false,
                    leaving: false,
                });
        }
    }

    /// A runner is to be given no new jobs, or may be again.
    pub(crate) fn leave(&mut self, endpoint: &str, leaving: bool) {
        if let Some(runner) = self.runners.get_mut(endpoint) {
            runner.leaving = leaving;
        }
    }

    /// A runner has been asked.
    pub(crate) fn report(&mut self, endpoint: &str, health: Health) {
        let Some(runner) = self.runners.get_mut(endpoint) else {
            return;
        };
        let same_instance = match (&runner.health, &health) {
            (Health::Up { state: old, .. }, Health::Up { state: new, .. }) => {
                old.instance == new.instance
            }
            _ => false,
        };
        runner.proven &= same_instance;
        runner.resting = false;
        runner.health = match (&runner.health, health) {
            (Health::Starting(_), Health::Down(why)) => Health::Starting(why),
            (_, health) => health,
        };
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
        let Health::Up { client, .. } = &runner.health else {
            return None;
        };
        let chosen = Chosen {
            endpoint: endpoint.clone(),
            client: client.clone(),
            idle_and_proven: runner.proven && runner.in_flight == 0,
        };
        runner.in_flight += 1;
        Some(chosen)
    }

    /// A job has left its runner.
    pub(crate) fn left(&mut self, endpoint: &str, was: RunnerWas) {
        let Some(runner) = self.runners.get_mut(endpoint) else {
            return;
        };
        runner.in_flight = runner.in_flight.saturating_sub(1);
        match was {
            RunnerWas::Fine => runner.proven = true,
            RunnerWas::Unavailable => runner.resting = true,
        }
    }

    /// Jobs that the runners have.
    pub(crate) fn in_flight(&self) -> u32 {
        self.runners.values().map(|runner| runner.in_flight).sum()
    }

    /// Jobs that the runner at `endpoint` has.
    pub(crate) fn in_flight_at(&self, endpoint: &str) -> u32 {
        self.runners
            .get(endpoint)
            .map_or(0, |runner| runner.in_flight)
    }

    /// Every runner with what is known of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Health)> {
        self.runners
            .iter()
            .map(|(endpoint, runner)| (endpoint.as_str(), &runner.health))
    }
}

impl Runner {
    fn free_slots(&self, model: &str) -> u32 {
        match &self.health {
            Health::Up { state, .. }
                if !self.resting && !self.leaving && self.health.serves([model]) =>
            {
                state.slots.saturating_sub(self.in_flight)
            }
            _ => 0,
        }
    }

    /// Lower is better: its share of busy slots, and far behind where it is to be avoided.
    fn preference(&self, avoid: Option<&str>) -> f64 {
        match &self.health {
            Health::Up { state, client } => {
                let avoided = avoid == Some(client.address().as_str());
                f64::from(self.in_flight) / f64::from(state.slots.max(1))
                    + if avoided { 1e6 } else { 0.0 }
            }
            Health::Down(_) | Health::Starting(_) => f64::INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_protocol::{ModelState, Task};

    fn up(endpoint: &str, instance: &str, slots: u32) -> Health {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let model = ModelState {
            name: "blip".into(),
            task: Task::ImageToText,
            revision: "r".into(),
            ready: true,
            failure: None,
        };
        Health::Up {
            client: RunnerClient::new(endpoint.parse().unwrap(), None, None).unwrap(),
            state: RunnerState {
                instance: instance.into(),
                slots,
                busy: 0,
                models: vec![model],
            },
        }
    }

    fn fleet(slots: &[u32]) -> (Fleet, Vec<String>) {
        let endpoints: Vec<String> = (0..slots.len())
            .map(|index| format!("http://127.0.0.1:{}/", 9000 + index))
            .collect();
        let mut fleet = Fleet::default();
        fleet.keep(&endpoints);
        for (endpoint, slots) in endpoints.iter().zip(slots) {
            fleet.report(endpoint, up(endpoint, "i", *slots));
        }
        (fleet, endpoints)
    }

    #[test]
    fn jobs_go_to_the_least_loaded_runner_until_no_slot_is_free() {
        let (mut fleet, endpoints) = fleet(&[1, 2]);
        let taken: Vec<String> = std::iter::from_fn(|| fleet.choose("blip", None))
            .map(|c| c.client.address().to_string())
            .collect();
        assert_eq!(taken, [&*endpoints[0], &*endpoints[1], &*endpoints[1]]);
        assert!(!fleet.has_room("blip"));
        fleet.left(&endpoints[0], RunnerWas::Fine);
        assert!(fleet.has_room("blip"));
        assert!(!fleet.has_room("vit"));
    }

    #[test]
    fn a_runner_without_room_is_left_alone_until_it_has_been_asked_again() {
        let (mut fleet, endpoints) = fleet(&[4]);
        fleet.choose("blip", None).unwrap();
        fleet.left(&endpoints[0], RunnerWas::Unavailable);
        assert!(!fleet.has_room("blip"));
        fleet.report(&endpoints[0], up(&endpoints[0], "i", 4));
        assert!(fleet.has_room("blip"));
    }

    #[test]
    fn a_runner_that_is_about_to_end_gets_no_new_jobs_and_keeps_those_it_has() {
        let (mut fleet, endpoints) = fleet(&[4]);
        fleet.choose("blip", None).unwrap();
        fleet.leave(&endpoints[0], true);
        assert!(!fleet.has_room("blip") && fleet.choose("blip", None).is_none());
        assert_eq!(fleet.in_flight_at(&endpoints[0]), 1);
        fleet.leave(&endpoints[0], false);
        assert!(fleet.has_room("blip"));
    }

    #[test]
    fn another_runner_is_preferred_to_the_one_that_was_lost_but_a_lone_one_is_not_refused() {
        let (mut both, endpoints) = fleet(&[4, 4]);
        let next = both.choose("blip", Some(&endpoints[0])).unwrap();
        assert_eq!(next.client.address().as_str(), endpoints[1]);
        let (mut lone, endpoints) = fleet(&[4]);
        assert!(lone.choose("blip", Some(&endpoints[0])).is_some());
    }

    #[test]
    fn a_runner_serves_all_models_or_not_all_and_what_it_has_beside_them_is_nothing_to_that() {
        let health = up("http://127.0.0.1:9000/", "i", 1);
        assert!(health.serves(["blip"]) && health.serves([]));
        assert!(!health.serves(["blip", "vit"]), "it was not told of it yet");
        assert!(!Health::Down("gone".into()).serves(["blip"]));
    }

    #[test]
    fn a_runner_is_proven_by_a_job_and_no_longer_when_it_has_restarted() {
        let (mut fleet, endpoints) = fleet(&[4]);
        assert!(!fleet.choose("blip", None).unwrap().idle_and_proven);
        fleet.left(&endpoints[0], RunnerWas::Fine);
        assert!(fleet.choose("blip", None).unwrap().idle_and_proven);
        assert!(
            !fleet.choose("blip", None).unwrap().idle_and_proven,
            "it is not idle"
        );
        fleet.left(&endpoints[0], RunnerWas::Fine);
        fleet.left(&endpoints[0], RunnerWas::Fine);
        fleet.report(&endpoints[0], up(&endpoints[0], "another", 4));
        assert!(!fleet.choose("blip", None).unwrap().idle_and_proven);
    }
}
