//! What every request can reach, and the routes.

use crate::config::{CompatConfig, Config};
use crate::jobs::Jobs;
use crate::kubernetes::Namespaces;
use crate::routes::health::Checks;
use crate::routes::{compat, health, jobs, method_not_allowed, no_such_route};
use crate::upload::Intake;
use crate::{middleware, openapi};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use fovea_store::Store;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

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

/// All routes, one line each; paths and methods stand with the handlers.
pub(crate) fn routes(config: &CompatConfig) -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(jobs::create))
        .routes(routes!(jobs::read))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::health))
        .merge(compat::router(config))
}

/// The service.
pub fn router(app: App) -> Router {
    let app = Arc::new(app);
    let (routes, operations) = routes(&app.config.compat).split_for_parts();
    let document = openapi::complete(&app.config.compat, operations);
    routes
        .merge(openapi::docs(&document))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        // Bodies are bounded by `upload`, to the byte; no other route reads one.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app),
            compat::frame,
        ))
        .layer(axum::middleware::from_fn(middleware::frame))
        .with_state(app)
}
