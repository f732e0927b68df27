//! The HTTP API: pictures in, InferenceJobs out.
//!
//! A submission passes the modules in this order: [`routes`] reads one of the three forms of a
//! request within the bounds of `upload`, `validate` checks its fields, and `submit` puts the picture
//! and then creates the job, which is the commit. Between requests there are only short-lived caches:
//! the custom resource is the only state.

#![allow(
    missing_docs,
    reason = "only this program and its tests use the library"
)]

mod app;
mod archive;
mod audit;
mod auth;
mod batch;
mod budget;
mod config;
mod cors;
mod download;
mod error;
mod health;
mod installation;
mod jobs;
pub mod kubernetes;
mod meter;
mod metrics;
mod middleware;
mod openapi;
mod pace;
mod paced;
mod pools;
mod responses;
mod results;
pub mod routes;
mod serve;
mod shares;
mod state;
mod store_probe;
mod submit;
mod trace;
mod upload;
mod validate;
mod writes;

pub use app::{admin_router, document, router};
pub use config::{
    AsyncVisionConfig, AuthConfig, AuthMode, CompatConfig, Config, Files, ForwardedHeader,
    ImageAnalysisConfig, LimitsConfig, RatesConfig, ReadsConfig, TimeoutsConfig,
};
pub use error::{Problem, ProblemType};
pub use jobs::WatchScope;
pub use metrics::Metrics;
pub use serve::{Door, serve};
pub use state::App;
pub use submit::COMMIT_GENERATIONS;
