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
    /// The shard and its first picture, if the job is a batch.
    pub(super) range: Option<(u32, u64)>,
    pub(super) attempt: u32,
}

impl<'a> From<&'a InferRequest> for Claim<'a> {
    fn from(request: &'a InferRequest) -> Self {
        Self {
            sender: Sender::of(&request.installation, request.epoch),
            job: &request.job,
            range: None,
            attempt: request.attempt,
        }
    }
}

impl<'a> From<&'a ShardRequest> for Claim<'a> {
    fn from(request: &'a ShardRequest) -> Self {
        Self {
            sender: Sender::of(&request.installation, request.epoch),
            job: &request.job,
            range: Some((request.shard, request.from)),
            attempt: request.attempt,
        }
    }
}
