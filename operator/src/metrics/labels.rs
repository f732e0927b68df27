//! Labels of the metrics. Each has a bounded number of values: fixed words, tasks and names of pools.

use prometheus_client::encoding::EncodeLabelSet;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PoolLabels {
    pub(super) pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PoolTaskLabels {
    pub(super) pool: String,
    pub(super) task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RunnerLabels {
    pub(super) pool: String,
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) state: &'static str,
}

/// The limit that a namespace has reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabels {
    pub(super) limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TableLabels {
    pub(super) table: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StageLabels {
    pub(super) stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfLabels {
    pub(super) of: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabels {
    pub(super) kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SweptLabels {
    pub(super) fate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CauseLabels {
    pub(super) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FaultLabels {
    pub(super) fault: &'static str,
}

/// What a probe can find wrong with the object store.
pub(super) const STORE_FAULTS: [&str; 3] = ["lists", "writes", "not-s3"];
pub(super) const STATUS_WRITES: [&str; 6] = [
    "stands", "moot", "conflict", "rejected", "failed", "gave-up",
];
pub(super) const CALLBACK_TRIES: [&str; 3] = ["delivered", "failed", "given-up"];
pub(super) const DELETIONS: [&str; 2] = ["ttl", "limit"];
pub(super) const RESULT_PUTS: [ResultPut; 4] = [
    ResultPut::Stored,
    ResultPut::Failed,
    ResultPut::Refused,
    ResultPut::NoRoom,
];
pub(super) const BATCH_PICTURES: [&str; 2] = ["succeeded", "failed"];
pub(super) const SWEEPS: [&str; 2] = ["complete", "failed"];
/// Outcomes and reasons of attempts that run to an end on a runner or are interrupted. Attempts that a
/// runner refuses, and failures that the job itself causes, are not listed.
pub(super) const ATTEMPTS: [(&str, &str); 8] = [
    ("succeeded", "none"),
    ("interrupted", "RunnerLost"),
    ("failed", "ResultNotStored"),
    ("retried", "StoreUnavailable"),
    ("retried", "FetchFailed"),
    ("retried", "DeadlineExceeded"),
    ("retried", "OutOfMemory"),
    ("retried", "InferenceFailed"),
];

/// Outcomes and reasons of attempts at shards, as of [`ATTEMPTS`].
pub(super) const SHARD_ATTEMPTS: [(&str, &str); 3] = [
    ("succeeded", "none"),
    ("interrupted", "RunnerLost"),
    ("retried", "FetchFailed"),
];

/// The outcome of a put of a large result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultPut {
    Stored,
    /// The store did not answer, or failed; the result is put again.
    Failed,
    /// The store refused it; the result is put again for a while.
    Refused,
    /// Not tried: there was no memory to keep it.
    NoRoom,
}

impl ResultPut {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::NoRoom => "no-room",
        }
    }
}

/// The fate of an object that a sweep listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is younger than the grace.
    Young,
    /// Its key is not one of Fovea's.
    Foreign,
    Needed,
    Deleted,
    /// It was put again after it had been listed.
    PutAgain,
    /// It was not deleted because the store answered too slowly to do so safely.
    TooSlow,
    /// The store rejected the deletion.
    Failed,
}

impl Fate {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Young => "young",
            Self::Foreign => "foreign",
            Self::Needed => "needed",
            Self::Deleted => "deleted",
            Self::PutAgain => "put-again",
            Self::TooSlow => "too-slow",
            Self::Failed => "failed",
        }
    }
}
