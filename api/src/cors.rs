//! CORS: only pages of configured origins may call the API from a browser.

use crate::auth::NAMESPACE_HEADER;
use crate::middleware::REQUEST_ID;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER,
};
use http::{HeaderName, HeaderValue, Method};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

const MAX_AGE: Duration = Duration::from_hours(1);

/// The layer; `None` without allowed origins. A page sends its token itself, so no credentials
/// (cookies) are allowed.
pub(crate) fn layer(origins: &[HeaderValue]) -> Option<CorsLayer> {
    let origins = match origins {
        [] => return None,
        origins if origins.iter().any(|origin| origin == "*") => AllowOrigin::any(),
        origins => AllowOrigin::list(origins.iter().cloned()),
    };
    let named = HeaderName::from_static;
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
            .allow_headers([
                ACCEPT,
                AUTHORIZATION,
                CONTENT_TYPE,
                NAMESPACE_HEADER,
                REQUEST_ID,
                named("idempotency-key"),
                named("last-event-id"),
                named("prefer"),
                named("traceparent"),
            ])
            .expose_headers([
                CONTENT_DISPOSITION,
                ETAG,
                LOCATION,
                RETRY_AFTER,
                REQUEST_ID,
                named("preference-applied"),
            ])
            .max_age(MAX_AGE),
    )
}
