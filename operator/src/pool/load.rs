//! What the dispatcher reports about every pool: its queue, and each runner's health and jobs.

use super::PoolKey;
use fovea_protocol::ModelState;
use std::collections::BTreeMap;

/// The load of every pool that the dispatcher watches.
pub type Loads = BTreeMap<PoolKey, Load>;

/// The load of one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Jobs in the queue, including those that `spec.fairness` holds back.
    pub waiting: u32,
    /// Jobs in the queue that a free runner could take now.
    pub queued: u32,
    /// Jobs on the pool's runners.
    pub running: u32,
    /// Jobs that finished on a runner since this operator became leader.
    pub ended: u64,
    /// Time that those jobs spent on runners, in seconds, summed.
    pub busy_seconds: f64,
    /// Jobs that one runner takes at once; `None` until a runner has answered.
    pub slots: Option<u32>,
    /// Pictures without a row, of the pool's batches that may run: those that are neither suspended nor held
    /// by a parallelism of 0. One for each batch that is being planned.
    pub batch_pictures_left: u64,
    /// Shards of those batches that could run at once, with those that do: of each batch at most its
    /// parallelism.
    pub shards_runnable: u32,
    /// Shards on the pool's runners.
    pub shards_running: u32,
    /// Shards that one runner takes at once; `None` until a runner has answered.
    pub shard_slots: Option<u32>,
    /// Pictures of batches that runners have done since this operator became leader, by their heartbeats.
    pub batch_pictures_done: u64,
    /// Time that runners had at least one shard since then, in seconds, summed over runners.
    pub batch_busy_seconds: f64,
    /// Whether the pool was external when the load was measured.
    pub external: bool,
    /// Whether `runners` is complete and each has been checked once: until then a new leader keeps
    /// the status of the last one.
    pub connected: bool,
    /// The runners, by endpoint: a pod's URL, or the endpoint as `spec.external` writes it.
    pub runners: BTreeMap<String, RunnerLoad>,
}

/// One runner's health and jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerLoad {
    /// Result of the last health check.
    pub health: Health,
    /// Number of jobs and shards that it works on.
    pub running: u32,
}

/// Result of a runner's last health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered and follows this leader.
    Up {
        /// Jobs that it takes at once.
        slots: u32,
        /// Shards of batches that it takes at once, beside them.
        shard_slots: u32,
        /// The models that it keeps, ready or not.
        models: Vec<ModelState>,
    },
    /// It answered before, and failed this time: the error.
    Down(String),
    /// It answers and refuses this leader's epoch: what is done about it.
    Refusing(String),
    /// It has never answered: the last error.
    Starting(String),
    /// It has not been checked yet.
    Unchecked,
}

impl Health {
    /// The models that the runner keeps, ready or not; none unless it is up.
    pub fn models(&self) -> &[ModelState] {
        match self {
            Self::Up { models, .. } => models,
            Self::Down(_) | Self::Refusing(_) | Self::Starting(_) | Self::Unchecked => &[],
        }
    }

    /// Whether the runner is up and has all of these models ready.
    pub fn serves<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let is_ready = |name: &str| {
            let mut models = self.models().iter();
            models.any(|model| model.name == name && model.ready)
        };
        matches!(self, Self::Up { .. }) && names.into_iter().all(is_ready)
    }

    /// Whether the runner has failed to load one of its models.
    pub fn has_failed_model(&self) -> bool {
        self.models().iter().any(|model| model.failure.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::served;

    #[test]
    fn a_runner_serves_all_models_or_not_all_and_other_models_do_not_matter() {
        let health = Health::Up {
            slots: 1,
            shard_slots: 0,
            models: vec![served("blip")],
        };
        assert!(health.serves(["blip"]) && health.serves([]));
        assert!(
            !health.serves(["blip", "vit"]),
            "the runner does not keep vit yet"
        );
        assert!(!Health::Down("gone".into()).serves(["blip"]));
    }
}
