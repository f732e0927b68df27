//! The routes, the document that describes them, and the service that answers them.

use crate::auth::in_path;
use crate::config::CompatConfig;
use crate::routes::metrics::{METRICS, metrics};
use crate::routes::{batches, compat, health, jobs, method_not_allowed, no_such_route, pools};
use crate::state::{App, AppState};
use crate::{cors, middleware, openapi};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use schemars::SchemaGenerator;
use serde_json::Value;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// All routes, one line each; paths and methods are declared at the handlers.
fn routes(config: &CompatConfig) -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(jobs::create, jobs::list::list))
        .routes(routes!(jobs::read, jobs::end::delete))
        .routes(routes!(jobs::events::stream))
        .routes(routes!(jobs::end::cancel))
        .routes(routes!(jobs::content::input))
        .routes(routes!(jobs::content::result))
        .routes(routes!(batches::create::create, batches::list::list))
        .routes(routes!(batches::read, batches::delete))
        .routes(routes!(batches::events))
        .routes(routes!(batches::cancel))
        .routes(routes!(batches::results::read))
        .routes(routes!(batches::retry::retry))
        .routes(routes!(pools::pools))
        .routes(routes!(pools::models))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::health))
        .merge(compat::router(config))
}

/// The schemas that the operations refer to. The schemas that these refer to are added with them;
/// a test checks that none is missing and none is unused.
fn schemas(config: &CompatConfig, generator: &mut SchemaGenerator) {
    health::schemas(generator);
    jobs::schemas(generator);
    batches::schemas(generator);
    pools::schemas(generator);
    compat::schemas(config, generator);
}

/// The OpenAPI document, with the compatibility routes that `config` enables.
pub fn document(config: &CompatConfig) -> Value {
    openapi::complete(routes(config).into_openapi(), |generator| {
        schemas(config, generator);
    })
}

/// Health and metrics, for an address of their own.
pub fn admin_router(app: Arc<App>) -> Router {
    let metrics = metrics(Arc::clone(&app.metrics));
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route(METRICS, metrics)
        .layer(from_fn_with_state(Arc::clone(&app), middleware::frame))
        .with_state(app)
}

/// The API with all its layers.
pub fn router(app: Arc<App>) -> Router {
    let cors = cors::layer(&app.config.auth.cors_origins);
    // Metrics are served here unless they have an address of their own.
    let metrics = match app.config.metrics_listen {
        None => Router::new().route(METRICS, metrics(Arc::clone(&app.metrics))),
        Some(_) => Router::new(),
    };
    let (routes, operations) = routes(&app.config.compat).split_for_parts();
    let document = openapi::complete(operations, |generator| {
        schemas(&app.config.compat, generator);
    });
    let routes = routes
        .merge(metrics)
        .layer(from_fn_with_state(Arc::clone(&app), middleware::reserved))
        // Part of the program's own memory, and read without a token: not reserved.
        .merge(openapi::docs(&document))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        // `upload` bounds bodies exactly; no other route reads one.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn(middleware::bounded))
        .layer(from_fn_with_state(Arc::clone(&app), compat::frame))
        .layer(from_fn_with_state(Arc::clone(&app), middleware::frame))
        .with_state(app);
    // Before routing, so that every route has the form with a namespace.
    let outer = Router::new()
        .fallback_service(routes)
        .layer(from_fn(in_path));
    match cors {
        Some(cors) => outer.layer(cors),
        None => outer,
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
