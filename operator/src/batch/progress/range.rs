//! Pictures of a shard.

use fovea_protocol::RowError;
use std::time::Instant;

/// What a shard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Number of its pictures; `None` for an archive, whose pictures are counted when it is read.
    pub pictures: Option<u64>,
    pub bytes: u64,
}

/// Pictures of one shard that wait for an attempt, or have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub shard: u32,
    /// Index of the first picture in the shard.
    pub from: u64,
    /// Index after the last one; `None` up to the end of an archive.
    pub to: Option<u64>,
    /// Attempts that failed at its first picture.
    pub(super) attempts: u32,
    /// Runners that were lost with it.
    pub(super) losses: u32,
    /// Those of them that had nothing else of the batch.
    pub(super) losses_alone: u32,
    /// Earliest time of its next attempt.
    pub(super) not_before: Option<Instant>,
    /// Why its one picture, or its archive, has failed for good: only its row is to be written.
    pub error: Option<RowError>,
}

impl Range {
    pub(super) fn new(shard: u32, from: u64, to: Option<u64>) -> Self {
        Self {
            shard,
            from,
            to,
            attempts: 0,
            losses: 0,
            losses_alone: 0,
            not_before: None,
            error: None,
        }
    }

    pub(super) fn pictures(&self) -> Option<u64> {
        self.to.map(|to| to.saturating_sub(self.from))
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    /// Whether its one picture may have ended a runner. It has a runner without other ranges of the batch, and a
    /// pass of its own, so that it is known whether it ends that one, too.
    pub(crate) fn is_suspect(&self) -> bool {
        self.losses > 0 && self.pictures() == Some(1) && self.error.is_none()
    }

    pub(super) fn part(&self, from: u64, to: Option<u64>) -> Self {
        Self {
            from,
            to,
            ..self.clone()
        }
    }
}
