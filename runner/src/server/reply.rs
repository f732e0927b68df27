//! Answers in the protocol's forms.

use axum::body::Body;
use axum::response::Response;
use fovea_protocol::{NDJSON_CONTENT_TYPE, PROBLEM_CONTENT_TYPE, Problem, Reason};
use futures::{Stream, StreamExt as _};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use std::convert::Infallible;

/// When to try again after 503, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

pub(super) fn problem_response(problem: &Problem) -> Response {
    let mut response = Response::new(Body::from(json(problem)));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
    match problem.reason {
        Reason::Busy | Reason::NotReady => {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        Reason::Unauthorized => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

/// Lines as they come, one JSON object each.
pub(super) fn lines_response<T: Serialize>(
    lines: impl Stream<Item = T> + Send + 'static,
) -> Response {
    let body = Body::from_stream(lines.map(|line| {
        let mut text = json(&line);
        text.push(b'\n');
        Ok::<_, Infallible>(text)
    }));
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON_CONTENT_TYPE));
    response
}

/// Serializing the protocol's own types does not fail: they have string keys and no custom code.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
