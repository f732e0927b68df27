//! Pools with pods on a real control plane, without a node: the test is kubelet and scheduler.

mod authorities;
mod imports;
mod objects;
mod scaling;
mod template;

use anyhow::{Context as _, Result, anyhow, ensure};
use fovea_crds::RunnerPool;
use fovea_harness::{eventually, stack};
use fovea_store::{ModelFolder, ObjectKey};
use fovea_tests::Operated;
use fovea_tests::operated::{PATIENCE, apply_spec};
use fovea_tests::pods::store;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

const NAMESPACE: &str = stack::SYSTEM_NAMESPACE;
const COMMIT: &str = "82a37760796d32b1411fe092ab5d4e227313294b";

trait Namespaced: Resource<Scope = NamespaceResourceScope, DynamicType = ()> {}

impl<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>> Namespaced for K {}

fn api<K: Namespaced>(client: &Client) -> Api<K> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// Has the API server refuse pods that do not meet the Pod Security Standard "restricted".
async fn enforce_restricted(client: &Client) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let labels =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let (labels, params) = (Patch::Merge(labels), PatchParams::default());
    namespaces.patch(NAMESPACE, &params, &labels).await?;
    Ok(())
}

/// A pool with one model in the bucket.
async fn pool(client: &Client, name: &str, more: &Value) -> Result<RunnerPool> {
    let source = json!({"object": {"prefix": "demo/resnet"}});
    let model = json!({"name": "m", "task": "image-classification", "source": source});
    let spec = json!({"models": [model], "device": "cpu"});
    apply_spec(&api(client), name, spec, more).await
}

/// Waits until an object is there and as wanted.
async fn found<K>(operated: &Operated, name: &str, wanted: impl Fn(&K) -> bool) -> Result<K>
where
    K: Namespaced + Clone + DeserializeOwned + Debug,
{
    let api = api::<K>(&operated.client);
    let what = format!("{} {name}", K::kind(&()));
    let found = eventually(&what, PATIENCE, || async {
        let object = api.get(name).await?;
        let log = operated.operator.log_tail();
        ensure!(wanted(&object), "{object:?}\n{log}");
        Ok(object)
    });
    Ok(found.await?)
}

/// Waits until a pool has `count` pods.
async fn pods(operated: &Operated, pool: &str, count: usize) -> Result<Vec<Pod>> {
    let params = ListParams::default().labels(&format!("fovea.dev/pool={pool}"));
    let what = format!("{count} pods of {pool}");
    let found = eventually(&what, PATIENCE, || async {
        let list = api::<Pod>(&operated.client).list(&params).await?;
        let there = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        let pods: Vec<Pod> = list.items.into_iter().filter(there).collect();
        let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
        let log = operated.operator.log_tail();
        ensure!(pods.len() == count, "{names:?}\n{log}");
        Ok(pods)
    });
    Ok(found.await?)
}

/// Writes a pod's status, as its kubelet would.
async fn report(client: &Client, pod: &str, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({ "status": status }));
    api::<Pod>(client)
        .patch_status(pod, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn is_gone<K>(client: &Client, name: &str) -> Result<()>
where
    K: Namespaced + Clone + DeserializeOwned + Debug,
{
    let found = api::<K>(client).get_opt(name).await?;
    ensure!(found.is_none(), "{} {name} exists", K::kind(&()));
    Ok(())
}

fn replicas(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref()?.replicas
}

/// Waits until a line of the operator's log contains all of `words`.
async fn logged(operated: &Operated, words: &[&str]) -> Result<()> {
    eventually("the log", PATIENCE, || async {
        let log = tokio::fs::read_to_string(operated.operator.log_path()).await?;
        let line = log
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        line.map(|_| ())
            .ok_or_else(|| anyhow!("{words:?} is not in\n{}", operated.operator.log_tail()))
    })
    .await?;
    Ok(())
}

/// A node has taken the pod, and its runner serves.
async fn ready(client: &Client, pod: &str) -> Result<()> {
    let time = "2026-01-01T00:00:00Z";
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": time});
    let container = json!({"name": "runner", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": time}}});
    let conditions = ["PodScheduled", "ContainersReady", "Ready"].map(condition);
    let status = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": conditions, "containerStatuses": [container]});
    report(client, pod, status).await
}
