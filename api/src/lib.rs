//! The HTTP API: pictures in, InferenceJobs out.
//!
//! A submission flows through the rooms in this order: [`routes`] reads one of the three forms of
//! a request within the bounds of `upload`, `validate` decides whether it may become a job, and
//! `submit` puts the picture and then creates the job, which is the commit. Nothing is kept here
//! between requests but short-lived caches: the custom resource is the only truth.

mod app;
mod config;
mod error;
mod jobs;
pub mod kubernetes;
mod middleware;
pub mod openapi;
mod results;
pub mod routes;
mod serve;
mod submit;
pub mod telemetry;
mod tenant;
mod upload;
mod validate;

pub use app::{App, router};
pub use config::{
    AsyncVisionConfig, CompatConfig, Config, ImageAnalysisConfig, LimitsConfig, LogFormat,
    TimeoutsConfig,
};
pub use error::{Problem, ProblemType};
pub use serve::serve;
pub use submit::{COMMIT_GENERATIONS, annotations, labels};
