//! The layers around every request: an id, a span, a count, bounds on its head, a response even after
//! a panic, and errors as problem+json.

use crate::budget::hold;
use crate::error::{PROBLEM_JSON, Problem, ProblemType};
use crate::metrics::RequestTicket;
use crate::responses::Responses;
use crate::shares::{Parties, PartiesOf};
use crate::state::AppState;
use crate::trace;
use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::any::Any;
use std::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

/// A request's id, in requests and responses.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_URI_BYTES: usize = 8 * 1024;
/// Maximum number of headers, and of bytes in their names and values.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Length of a response that is part of its connection's memory, in bytes.
const FREE_RESPONSE_BYTES: usize = 4 * 1024;
/// Longest accepted id of a client.
const MAX_REQUEST_ID: usize = 128;

/// Handles every request first and its answer last.
pub(crate) async fn frame(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map(MatchedPath::as_str);
    let ticket = RequestTicket::new(&app.metrics, route, request.method());
    let span = tracing::info_span!(
        "request",
        id,
        method = %request.method(),
        path = request.uri().path(),
        namespace = Empty,
        user = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.response.status_code = Empty,
    );
    let name = format!("{} {}", request.method(), route.unwrap_or_default());
    let parent = trace::join(&span, name, request.headers(), app.config.trust_traceparent);
    let answered = async {
        let mut response = finish(next.run(request).await, &id);
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let status = response.status();
        let span = Span::current();
        span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        ticket.answered(status.as_u16());
        tracing::debug!(status = status.as_u16(), elapsed = ?started.elapsed(), "answered");
        response
    };
    trace::scope(parent, answered.instrument(span)).await
}

/// Refuses a head above the bounds.
pub(crate) async fn bounded(request: Request, next: Next) -> Response {
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |uri| uri.as_str().len());
    if length > MAX_URI_BYTES {
        let detail = format!(
            "path and query are longer than {MAX_URI_BYTES} bytes: put fields into the body"
        );
        return Problem::new(ProblemType::UriTooLong, detail).into_response();
    }
    let headers = request.headers();
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    if headers.len() > MAX_HEADERS || headers.iter().map(size).sum::<usize>() > MAX_HEADER_BYTES {
        let detail = format!(
            "more than {MAX_HEADERS} headers, or more than {MAX_HEADER_BYTES} bytes of them"
        );
        return Problem::new(ProblemType::HeadersTooLarge, detail).into_response();
    }
    next.run(request).await
}

/// Reserves the memory of a response that is whole already, until it has been written: a client may read it
/// slowly, or not at all. Only safe methods are refused for want of memory: the others have had their effect.
pub(crate) async fn reserved(
    State(app): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_safe = request.method().is_safe();
    let parties = PartiesOf::default();
    request.extensions_mut().insert(parties.clone());
    let response = next.run(request).await;
    reserve(&app.responses, parties.get(), is_safe, response).await
}

async fn reserve(
    responses: &Responses,
    parties: Parties,
    is_safe: bool,
    response: Response,
) -> Response {
    let length = response.body().size_hint().exact();
    let length = length.and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|length| *length > FREE_RESPONSE_BYTES) else {
        return response;
    };
    let memory = match responses.reserve(parties, length).await {
        Ok(memory) => memory,
        Err(problem) if is_safe => return problem.into_response(),
        Err(_) => return response,
    };
    let (parts, body) = response.into_parts();
    match to_bytes(body, length).await {
        Ok(bytes) => Response::from_parts(parts, Body::from(hold(bytes, memory))),
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// The client's id if it is safe to log, else a random one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID)
        .filter(|id| {
            id.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
        })
        .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// Renders and logs a response's problem.
fn finish(mut response: Response, id: &str) -> Response {
    let Some(problem) = take_problem(&mut response) else {
        return response;
    };
    log(&problem);
    let mut rendered = problem.render(Some(&format!("urn:fovea:request:{id}")));
    // Such as Allow with a 405.
    for (name, value) in response.headers() {
        if !rendered.headers().contains_key(name) && name != http::header::CONTENT_LENGTH {
            rendered.headers_mut().insert(name, value.clone());
        }
    }
    rendered
}

/// A response's problem, or a new one for a layer's error response without one. A handler's JSON
/// error stays unchanged.
pub(crate) fn take_problem(response: &mut Response) -> Option<Problem> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => Some(problem),
        None if is_json(response.headers()) => None,
        None => Some(Problem::of_status(status)),
    }
}

/// Errors are logged once, where they are answered.
pub(crate) fn log(problem: &Problem) {
    let status = problem.kind.status();
    let cause = problem.cause().unwrap_or("-");
    if status.as_u16() == 500 {
        tracing::error!(problem = problem.kind.uri(), cause, "failed");
    } else if status.is_server_error() {
        tracing::warn!(
            problem = problem.kind.uri(),
            detail = problem.detail,
            cause,
            "failed"
        );
    } else {
        tracing::debug!(
            problem = problem.kind.uri(),
            detail = problem.detail,
            cause,
            "refused"
        );
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let json = HeaderValue::from_static("application/json");
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == json || kind == PROBLEM_JSON)
}

/// Converts a handler's panic into a problem and logs its message; the connection stays open.
#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    Problem::internal(format!("panic: {message}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::metrics::Metrics;

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("trace-7.a:b_c"));
        assert_eq!(request_id(&headers), "trace-7.a:b_c");
        for wrong in ["", "a b", "a\"b", &"x".repeat(129)] {
            headers.insert(REQUEST_ID, HeaderValue::from_str(wrong).unwrap());
            assert!(Uuid::parse_str(&request_id(&headers)).is_ok(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn without_memory_only_an_answer_to_a_safe_method_is_refused() {
        let responses =
            |bytes: usize| Responses::new(2 * bytes, Budget::new(bytes), &Metrics::new());
        let few = responses(FREE_RESPONSE_BYTES);
        let answer = |length: usize| vec![b'a'; length].into_response();
        let large = FREE_RESPONSE_BYTES + 1;
        let (small, read, write) = tokio::join!(
            reserve(&few, Parties::NONE, true, answer(FREE_RESPONSE_BYTES)),
            reserve(&few, Parties::NONE, true, answer(large)),
            reserve(&few, Parties::NONE, false, answer(large)),
        );
        assert_eq!(
            (small.status().as_u16(), read.status().as_u16()),
            (200, 503)
        );
        assert_eq!(write.status(), 200);
        assert_eq!(write.body().size_hint().exact(), Some(large as u64));
        let charged = reserve(&responses(large), Parties::NONE, true, answer(large)).await;
        assert_eq!(charged.status(), 200);
    }

    #[tokio::test]
    async fn an_error_answer_of_any_layer_becomes_a_problem() {
        let bare = (
            http::StatusCode::IM_A_TEAPOT,
            [("x-kept", "yes")],
            "short and stout",
        );
        let response = finish(bare.into_response(), "7");
        assert_eq!(response.status(), 418);
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(response.headers()["x-kept"], "yes");
        let panic = finish(panicked(Box::new("boom")), "7");
        assert_eq!(panic.status(), 500);
        let body = axum::body::to_bytes(panic.into_body(), 4096).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            body.contains("urn:fovea:request:7") && !body.contains("boom"),
            "{body}"
        );
    }
}
