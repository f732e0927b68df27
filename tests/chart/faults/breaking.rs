//! The faults themselves, and their mending.

use super::watched::Watched;
use anyhow::{Context as _, Result, ensure};
use fovea_crds::InferenceJob;
use fovea_harness::eventually;
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::installed::PATIENCE;
use fovea_tests::measure::process_in_pod;
use fovea_tests::pods::{put_model, store};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const RUNNERS: &str = "app.kubernetes.io/name=fovea-runner";
const LEASE: &str = "fovea-operator";

/// The runner's process in its pod, which its node runs on this machine; it is waited for, as it may
/// have been killed before.
pub(super) async fn runner(it: &Watched) -> Result<u32> {
    let found = eventually("a runner's process", PATIENCE, async || {
        let pods = it.pods(RUNNERS).await?;
        let (_, uid) = pods.first().context("a runner's pod")?;
        process_in_pod(uid, "fovea-runner")
    });
    Ok(found.await?)
}

/// Sends a runner a request that only the operator may send.
pub(super) async fn knock_without_a_token(it: &Watched) -> Result<()> {
    let labelled = ListParams::default().labels(RUNNERS);
    let pods = it.it.pods.list(&labelled).await?;
    let addresses = { pods.iter() }.filter_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    let mut answers = Vec::new();
    for address in addresses {
        let url = format!("https://{address}:9400/v1/models");
        let curl = tokio::process::Command::new("curl")
            .args("--silent --insecure --noproxy * --max-time 10".split(' '))
            .args(["--output", "/dev/null", "--write-out", "%{http_code}", &url])
            .output();
        answers.push(String::from_utf8_lossy(&curl.await?.stdout).into_owned());
    }
    ensure!(answers.iter().any(|answer| answer == "401"), "{answers:?}");
    Ok(())
}

pub(super) fn signal(process: u32, signal: Signal) -> Result<()> {
    let process = Pid::from_raw(i32::try_from(process)?);
    Ok(kill(process, signal)?)
}

/// Asks for jobs that no cache knows while the API server does not answer; each waits its time out. The
/// watches wait until they are stale.
pub(super) async fn silence_api_server(it: &mut Watched) -> Result<()> {
    let visitor = it.it.visitor()?;
    it.it.cluster.control_plane.api_server().pause()?;
    let requests = (0..8).map(|number| {
        let visitor = &visitor;
        async move {
            let id = format!("6f9c4f0e-8d4b-4f3a-9d5e-3f1b2c4d5e{number:02}");
            visitor.get(&format!("/api/v1/status/{id}")).await
        }
    });
    let answers = join_all(requests).await;
    // Its window may be over before the watches are stale.
    let slow = it.fires("ApiSlow").await;
    let stale = it.fires("WatchesStale").await;
    // While requests still fail: on a busy machine its window is over before all is well again.
    let errors = it.fires("ClusterErrors").await;
    it.it.cluster.control_plane.api_server().resume()?;
    slow.and(stale).and(errors)?;
    it.rests("WatchesStale").await?;
    let mut answered = answers.iter().flatten();
    ensure!(answered.any(|(status, _)| *status >= 500), "{answers:?}");
    Ok(())
}

/// Lets the operator keep two finished jobs a namespace, for no minimum time.
pub(super) async fn limit_finished_jobs(it: &Watched) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(it.it.client.clone(), SYSTEM_NAMESPACE);
    let mut operator = serde_json::to_value(deployments.get("fovea-operator").await?)?;
    let flags = operator.pointer_mut("/spec/template/spec/containers/0/args");
    let flags = flags.and_then(Value::as_array_mut).context("its flags")?;
    flags.retain(|flag| {
        let flag = flag.as_str().unwrap_or_default();
        !flag.starts_with("--max-finished-jobs-per") && !flag.starts_with("--min-finished")
    });
    flags.push(json!("--max-finished-jobs-per-namespace=2"));
    flags.push(json!("--min-finished-seconds=0"));
    let operator = serde_json::from_value(operator)?;
    deployments
        .replace("fovea-operator", &PostParams::default(), &operator)
        .await?;
    Ok(())
}

/// Gives the Lease to a holder that does not exist.
pub(super) async fn hold_lease(it: &Watched) -> Result<()> {
    // Kubernetes accepts no more than microseconds.
    let now = format!("{:.6}", jiff::Timestamp::now());
    let held =
        json!({"holderIdentity": "somebody", "leaseDurationSeconds": 3600, "renewTime": now});
    patch_lease(it, held).await
}

pub(super) async fn release_lease(it: &Watched) -> Result<()> {
    let free = json!({"holderIdentity": null, "leaseDurationSeconds": 1});
    patch_lease(it, free).await
}

async fn patch_lease(it: &Watched, spec: Value) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(it.it.client.clone(), SYSTEM_NAMESPACE);
    let patch = Patch::Merge(json!({ "spec": spec }));
    leases.patch(LEASE, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Takes the operator's right to jobs' statuses; what to give back.
pub(super) async fn take_rights(it: &Watched) -> Result<ClusterRole> {
    let roles: Api<ClusterRole> = Api::all(it.it.client.clone());
    for mut role in roles.list(&ListParams::default()).await? {
        let before = role.clone();
        let granted = role.rules.get_or_insert_default();
        let all = granted.len();
        granted.retain(|rule| {
            let resources = rule.resources.iter().flatten();
            let status = { resources }.any(|resource| resource == "inferencejobs/status");
            let mut verbs = rule.verbs.iter();
            !(status && verbs.any(|verb| verb == "update" || verb == "patch"))
        });
        if granted.len() < all {
            let name = role.metadata.name.clone().context("a name")?;
            roles.replace(&name, &PostParams::default(), &role).await?;
            return Ok(before);
        }
    }
    anyhow::bail!("no ClusterRole grants the writing of statuses")
}

pub(super) async fn give_rights(it: &Watched, mut role: ClusterRole) -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(it.it.client.clone());
    role.metadata.resource_version = None;
    let name = role.metadata.name.clone().context("a name")?;
    roles.replace(&name, &PostParams::default(), &role).await?;
    Ok(())
}

/// A job of a task that only a newer definition knows.
pub(super) async fn create_what_is_newer(it: &Watched) -> Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(it.it.client.clone());
    let name = InferenceJob::crd_name();
    let mut newer = serde_json::to_value(crds.get(name).await?)?;
    let task = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/task/enum";
    let tasks = newer.pointer_mut(task).and_then(Value::as_array_mut);
    tasks.context("the tasks")?.push(json!("image-to-poem"));
    let newer = serde_json::from_value(newer)?;
    crds.replace(name, &PostParams::default(), &newer).await?;
    let resource = ApiResource::erase::<InferenceJob>(&());
    let poem: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "fovea.dev/v1alpha1", "kind": "InferenceJob", "metadata": {"name": "poem"},
        "spec": {"task": "image-to-poem", "input": {"inline": {"data": "aGVsbG8="}}},
    }))?;
    let untyped: Api<DynamicObject> = Api::default_namespaced_with(it.it.client.clone(), &resource);
    eventually("the new task to be allowed", PATIENCE, async || {
        untyped.create(&PostParams::default(), &poem).await
    })
    .await?;
    Ok(())
}

/// A folder of models with weights that are none.
pub(super) async fn put_broken_model(it: &Watched) -> Result<()> {
    let store = store(&it.it.minio).await?;
    let weights = |name: &str, bytes| {
        if name.ends_with(".safetensors") {
            b"no weights".to_vec()
        } else {
            bytes
        }
    };
    put_model(&store, "blip", "demo/broken", weights).await
}
