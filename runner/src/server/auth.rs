//! Checks the bearer token of a request.

use super::reply::problem_response;
use super::state::App;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use fovea_protocol::{Problem, Reason};
use http::header::AUTHORIZATION;
use std::sync::Arc;

/// Rejects a request without an accepted token, if the runner requires one.
pub(super) async fn require_token(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(tokens) = &app.tokens else {
        return next.run(request).await;
    };
    let presented = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    match presented {
        Some((_, presented)) if tokens.contains(presented) => next.run(request).await,
        _ => {
            app.metrics.refusal(Reason::Unauthorized);
            problem_response(&Problem::new(
                Reason::Unauthorized,
                "send the header Authorization: Bearer with the token of this runner's --token-file",
            ))
        }
    }
}
