//! `/openapi.json`: the description. `/docs`: a page to read and try it, whose files are part of the
//! program: it works without the internet.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use serde_json::Value;
use utoipa_swagger_ui::{Config, SwaggerUi};

const OPENAPI: &str = "/openapi.json";
/// The page runs its own files only and talks to nobody else. Swagger UI sets styles as it runs and
/// carries its icons as data.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

pub(crate) fn router<S: Clone + Send + Sync + 'static>(document: &Value) -> Router<S> {
    let json = Bytes::from(document.to_string());
    let serve = || async move { ([(CONTENT_TYPE, "application/json")], json) };
    // No validator: Swagger UI's own is a server on the internet.
    let config = Config::from(OPENAPI)
        .validator_url("none")
        .try_it_out_enabled(true);
    let page: Router<S> = SwaggerUi::new("/docs").config(config).into();
    page.layer(axum::middleware::map_response(guard))
        .route(OPENAPI, get(serve))
}

async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
