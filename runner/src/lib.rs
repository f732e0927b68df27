//! Keeps models resident on one device and answers inference requests.
//!
//! How a request flows: [`server`] takes it over HTTP and admits it, fetches the picture and has
//! [`image`] decode and preprocess it on a worker thread; [`batcher`] groups what is waiting;
//! [`engine`], one OS thread, owns the device and runs the batch on one of the [`models`]; the
//! model's half in [`tasks`] turns what it gave into the result.
//!
//! [`weights`] reads a checkpoint's files, and [`fetch`] brings them.
//!
//! A runner decodes hostile pictures, so it holds no credential of a cluster or a store.

pub mod batcher;
pub mod config;
pub mod engine;
pub mod fetch;
pub mod image;
pub mod metrics;
pub mod models;
pub mod server;
pub mod tasks;
pub mod weights;
