//! The shared stack, and requests to it.

use anyhow::Result;
use fovea_crds::{InferenceJob, InferenceJobStatus, conditions};
use fovea_harness::{Stack, StackOptions, stack};
use fovea_tests::Visitor;
pub(crate) use fovea_tests::demo::answers;
pub(crate) use fovea_tests::jobs::inline;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The stack, started at the first call; it ends with the process.
pub(crate) async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let start = || Stack::start(StackOptions::default(), |line| eprintln!("{line}"));
    let started = STACK.get_or_try_init(start).await;
    started.expect("the stack starts")
}

pub(crate) async fn jobs() -> Api<InferenceJob> {
    let client = stack().await.control_plane.client().await;
    Api::namespaced(client.expect("a client"), stack::JOB_NAMESPACE)
}

/// A user of the stack's API.
pub(crate) async fn visitor() -> Visitor {
    Visitor::plain(stack().await.api_url()).expect("a client")
}

pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

pub(crate) fn samples() -> BTreeMap<PathBuf, String> {
    answers("captions.json")
}

/// One of the pictures, with its caption.
pub(crate) fn sample() -> (Vec<u8>, String) {
    fovea_tests::demo::first("captions.json")
}

pub(crate) async fn create(job: &InferenceJob) -> Result<InferenceJob> {
    Ok(jobs().await.create(&PostParams::default(), job).await?)
}

pub(crate) async fn patch(name: &str, spec: Value) -> Result<InferenceJob> {
    let (patch, params) = (
        Patch::Merge(json!({ "spec": spec })),
        PatchParams::default(),
    );
    Ok(jobs().await.patch(name, &params, &patch).await?)
}

/// Waits until `wanted` holds for the job's status.
pub(crate) async fn status_where(
    name: &str,
    what: &str,
    wanted: impl Fn(&InferenceJobStatus) -> bool,
) -> Result<InferenceJobStatus> {
    fovea_tests::jobs::status_where(&jobs().await, name, what, wanted).await
}

pub(crate) fn has_condition(status: &InferenceJobStatus, type_: &str, value: &str) -> bool {
    conditions::get(&status.conditions, type_).is_some_and(|found| found.status == value)
}

pub(crate) async fn ended(name: &str) -> Result<InferenceJobStatus> {
    fovea_tests::jobs::ended(&jobs().await, name).await
}

pub(crate) fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .expect("a client")
}
