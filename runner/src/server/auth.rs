//! The bearer token.

use super::reply::problem_response;
use super::state::App;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use fovea_protocol::{Problem, Reason};
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A token's digest: comparing digests tells nothing of the token by its timing.
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    fn is(&self, presented: &[u8]) -> bool {
        self.0 == <[u8; 32]>::from(Sha256::digest(presented))
    }
}

/// Lets a request pass that carries the token, where one is set.
pub(super) async fn require_token(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(token) = &app.token else {
        return next.run(request).await;
    };
    let presented = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    match presented {
        Some((_, presented)) if token.is(presented) => next.run(request).await,
        _ => problem_response(&Problem::new(
            Reason::Unauthorized,
            "send the header Authorization: Bearer with the token of this runner's --token-file",
        )),
    }
}
