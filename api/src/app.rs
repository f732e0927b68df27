//! What every request can reach, and the routes.

use crate::auth::{Auth, in_path};
use crate::config::Config;
use crate::jobs::Jobs;
use crate::kubernetes::Namespaces;
use crate::metrics::Metrics;
use crate::routes::health::{Checks, health, livez, readyz};
use crate::routes::metrics::{METRICS, metrics};
use crate::routes::{jobs, method_not_allowed, no_such_route};
use crate::upload::Intake;
use crate::{cors, middleware, routes};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use fovea_store::Store;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// What every request can reach.
pub struct App {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) auth: Auth,
    pub(crate) client: kube::Client,
    pub(crate) store: Store,
    pub(crate) jobs: Jobs,
    pub(crate) namespaces: Namespaces,
    pub(crate) intake: Intake,
    pub(crate) checks: Checks,
}

impl App {
    /// Puts the parts together; nothing is asked of cluster or store yet.
    pub fn new(config: Config, client: kube::Client, store: Store, metrics: Arc<Metrics>) -> Self {
        Self {
            auth: Auth::new(&config, client.clone()),
            jobs: Jobs::new(client.clone(), config.timeouts.kube()),
            namespaces: Namespaces::new(client.clone(), config.timeouts.kube()),
            intake: Intake::new(&config.limits, &config.timeouts, Arc::clone(&metrics)),
            checks: Checks::default(),
            config,
            client,
            store,
            metrics,
        }
    }
}

/// How handlers get at the [`App`].
pub(crate) type AppState = Arc<App>;

/// All routes, one line each.
pub fn router(app: App) -> Router {
    let app = Arc::new(app);
    let cors = cors::layer(&app.config.auth.cors_origins);
    // Without an address of their own.
    let beside = app.config.metrics_listen.is_none();
    let seen = beside.then(|| Router::new().route(METRICS, metrics(Arc::clone(&app.metrics))));
    let routes = Router::new()
        .route(routes::JOBS, post(jobs::create))
        .route(routes::JOB, get(jobs::read))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .merge(seen.unwrap_or_default())
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        // Bodies are bounded by `upload`, to the byte; no other route reads one.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn(middleware::bounded))
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
