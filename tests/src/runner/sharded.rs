//! The scripted runner's shards.

use super::{Shared, is_stale};
use crate::shards::{self, Runner, ShardAttempt};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use fovea_protocol::{LeaderRequest, Part, Problem, ShardRequest};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl Runner for Arc<Shared> {
    fn begun(&self, request: &ShardRequest) -> Result<(usize, CancellationToken), Problem> {
        let mut state = self.state();
        let sender = LeaderRequest {
            installation: request.installation.clone(),
            epoch: request.epoch,
            holder: None,
        };
        if let Some(known) = &state.leader
            && is_stale(known, &sender)
        {
            return Err(Problem::stale_epoch(
                known.epoch,
                "says the scripted runner",
            ));
        }
        state.shards.push(ShardAttempt {
            request: request.clone(),
            done: 0,
            part: None,
            exists: false,
        });
        Ok((state.shards.len() - 1, state.drop_all.clone()))
    }

    fn progressed(&self, number: usize, done: usize) {
        self.state().shards[number].done = done;
    }

    fn ended(&self, number: usize, part: &Part, exists: bool) {
        let mut state = self.state();
        let attempt = &mut state.shards[number];
        attempt.part = Some(part.clone());
        attempt.exists = exists;
    }

    fn crash(&self) {
        Shared::crash(self);
    }
}

pub(super) async fn shard(State(shared): State<Arc<Shared>>, body: Body) -> Response {
    shards::shard(shared, body)
}
