//! What every request can reach, and the routes.

use crate::auth::{Auth, in_path};
use crate::config::{CompatConfig, Config};
use crate::download::Downloads;
use crate::jobs::{Jobs, WatchScope};
use crate::kubernetes::{Clients, Namespaces};
use crate::metrics::Metrics;
use crate::pools::Pools;
use crate::routes::health::Checks;
use crate::routes::metrics::{METRICS, metrics};
use crate::routes::{compat, health, jobs, method_not_allowed, no_such_route, pools};
use crate::upload::Intake;
use crate::{cors, middleware, openapi};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use fovea_store::Store;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What every request can reach.
pub struct App {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) auth: Auth,
    pub(crate) client: kube::Client,
    pub(crate) store: Store,
    pub(crate) jobs: Jobs,
    pub(crate) pools: Pools,
    pub(crate) downloads: Downloads,
    pub(crate) namespaces: Namespaces,
    pub(crate) intake: Intake,
    pub(crate) checks: Checks,
    pub(crate) draining: CancellationToken,
}

impl App {
    /// Puts the parts together and begins to watch jobs; it is called within a runtime.
    pub fn new(config: Config, clients: Clients, store: Store, metrics: Arc<Metrics>) -> Self {
        let timeout = config.timeouts.kube();
        let scope = config.only_namespace().map_or(WatchScope::All, |only| {
            WatchScope::Namespace(only.to_owned())
        });
        Self {
            auth: Auth::new(&config, clients.requests.clone()),
            jobs: Jobs::start(&clients, timeout, scope, config.reads.max_waiters),
            pools: Pools::new(&clients.requests, timeout, &config.reads.pool_namespaces),
            downloads: Downloads::new(config.reads.max_downloads, config.reads.download_idle()),
            namespaces: Namespaces::new(clients.requests.clone(), timeout),
            intake: Intake::new(&config.limits, &config.timeouts, Arc::clone(&metrics)),
            checks: Checks::default(),
            draining: CancellationToken::new(),
            config,
            client: clients.requests,
            store,
            metrics,
        }
    }

    /// Cancelled when the service is to end: who waits for a job is answered then.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }
}

/// How handlers get at the [`App`].
pub(crate) type AppState = Arc<App>;

/// All routes, one line each; paths and methods stand with the handlers.
pub(crate) fn routes(config: &CompatConfig) -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(jobs::create, jobs::list::list))
        .routes(routes!(jobs::read, jobs::end::delete))
        .routes(routes!(jobs::events::stream))
        .routes(routes!(jobs::end::cancel))
        .routes(routes!(jobs::content::input))
        .routes(routes!(jobs::content::result))
        .routes(routes!(pools::pools))
        .routes(routes!(pools::models))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::health))
        .merge(compat::router(config))
}

/// The service.
pub fn router(app: App) -> Router {
    let app = Arc::new(app);
    let cors = cors::layer(&app.config.auth.cors_origins);
    // Without an address of their own.
    let beside = app.config.metrics_listen.is_none();
    let seen = beside.then(|| Router::new().route(METRICS, metrics(Arc::clone(&app.metrics))));
    let (routes, operations) = routes(&app.config.compat).split_for_parts();
    let document = openapi::complete(&app.config.compat, operations);
    let routes = routes
        .merge(openapi::docs(&document))
        .merge(seen.unwrap_or_default())
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        // Bodies are bounded by `upload`, to the byte; no other route reads one.
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
