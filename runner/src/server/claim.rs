//! What asks for a slot: the attempt of a job, or of a shard of a batch.

use super::installations::Sender;
use fovea_protocol::{InferRequest, ShardRequest};

/// A number of slots of each kind: shards of batches take none of the jobs'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    pub(super) jobs: u32,
    pub(super) shards: u32,
}

/// What asks for a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) sender: Sender<'a>,
    pub(super) job: &'a str,
    /// Its part of the job, if that is a batch.
    pub(super) shard: Option<ShardRange>,
    pub(super) attempt: u32,
}

/// A range of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardRange {
    shard: u32,
    from: u64,
    /// Absent up to the end of an archive.
    to: Option<u64>,
}

impl ShardRange {
    /// Whether there may be a picture that is in both.
    pub(super) fn overlaps(self, other: Self) -> bool {
        let begins_before_the_end =
            |one: Self, other: Self| other.to.is_none_or(|to| one.from < to);
        self.shard == other.shard
            && begins_before_the_end(self, other)
            && begins_before_the_end(other, self)
    }
}

impl<'a> From<&'a InferRequest> for Claim<'a> {
    fn from(request: &'a InferRequest) -> Self {
        Self {
            sender: Sender::of(&request.installation, request.epoch),
            job: &request.job,
            shard: None,
            attempt: request.attempt,
        }
    }
}

impl<'a> From<&'a ShardRequest> for Claim<'a> {
    fn from(request: &'a ShardRequest) -> Self {
        Self {
            sender: Sender::of(&request.installation, request.epoch),
            job: &request.job,
            shard: Some(ShardRange {
                shard: request.shard,
                from: request.from,
                to: request.to,
            }),
            attempt: request.attempt,
        }
    }
}
