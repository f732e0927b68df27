//! Keeps models resident on one device and answers inference requests.
//!
//! How a request flows: [`server`] receives and admits it over HTTP and fetches the picture;
//! [`image`] decodes and preprocesses it on a worker thread; [`batcher`] groups waiting pictures;
//! [`engine`], one OS thread, owns the device and runs the batch on one of the [`models`]; the
//! model's head, of [`tasks`], turns the answer into the result. [`inference`] holds the types that
//! these modules share.
//!
//! [`weights`] reads a checkpoint's files, and [`import`] downloads them.
//!
//! A runner decodes hostile pictures, so it holds no credential of a cluster or a store.

#![allow(
    missing_docs,
    reason = "only this program and its tests use the library"
)]

pub mod batcher;
pub mod config;
pub mod engine;
pub mod image;
pub mod import;
pub mod inference;
pub mod metrics;
pub mod models;
mod s3_error;
pub mod server;
pub mod tasks;
mod trust;
pub mod weights;
