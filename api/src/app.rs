//! What every request can reach, and the routes.

use crate::config::Config;
use crate::jobs::Jobs;
use crate::kubernetes::Namespaces;
use crate::routes::health::{Checks, health, livez, readyz};
use crate::routes::{jobs, method_not_allowed, no_such_route};
use crate::upload::Intake;
use crate::{middleware, routes};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use fovea_store::Store;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// What every request can reach.
pub struct App {
    pub(crate) config: Config,
    pub(crate) client: kube::Client,
    pub(crate) store: Store,
    pub(crate) jobs: Jobs,
    pub(crate) namespaces: Namespaces,
    pub(crate) intake: Intake,
    pub(crate) checks: Checks,
}

impl App {
    /// Puts the parts together; nothing is asked of cluster or store yet.
    pub fn new(config: Config, client: kube::Client, store: Store) -> Self {
        Self {
            jobs: Jobs::new(client.clone(), config.timeouts.kube()),
            namespaces: Namespaces::new(client.clone(), config.timeouts.kube()),
            intake: Intake::new(&config.limits, &config.timeouts),
            checks: Checks::default(),
            config,
            client,
            store,
        }
    }
}

/// How handlers get at the [`App`].
pub(crate) type AppState = Arc<App>;

/// All routes, one line each.
pub fn router(app: App) -> Router {
    Router::new()
        .route(routes::JOBS, post(jobs::create))
        .route(routes::JOB, get(jobs::read))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        // Bodies are bounded by `upload`, to the byte; no other route reads one.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(axum::middleware::from_fn(middleware::frame))
        .with_state(Arc::new(app))
}
