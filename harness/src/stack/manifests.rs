//! Objects that are applied before the first job: the CRDs, and a pool whose runner is a plain process.

use super::{DemoModel, MODELS, READY, SYSTEM_NAMESPACE, repository};
use crate::cluster::{ClusterError, ControlPlane};

/// Applies the CRDs, the system namespace, and the pool `default` with its token.
pub(super) async fn apply(
    cluster: &ControlPlane,
    runner_port: u16,
    token: &str,
) -> Result<(), ClusterError> {
    let crds = repository().join("manifests/crds").display().to_string();
    let apply = ["apply", "-f", &crds];
    cluster.kubectl(&apply).await?.success("apply")?;
    let established = "wait --for=condition=Established --timeout=30s crd --all";
    cluster.kubectl_line(established).await?;
    cluster.kubectl_apply("", &pool(runner_port, token)).await
}

/// Waits until the operator reports a runner for every model.
pub(super) async fn wait_for_pool(cluster: &ControlPlane) -> Result<(), ClusterError> {
    let seconds = READY.as_secs();
    let ready = format!("--for=condition=Ready --timeout={seconds}s");
    let wait = format!("wait -n {SYSTEM_NAMESPACE} runnerpool/default {ready}");
    cluster.kubectl_line(&wait).await.map(drop)
}

fn pool(runner_port: u16, token: &str) -> String {
    let models = (MODELS.iter())
        .map(|model| {
            let DemoModel {
                name,
                task,
                folder: _,
                default,
            } = model;
            format!("  - {{name: {name}, task: {task}, default: {default}}}")
        })
        .collect::<Vec<_>>()
        .join("\n");
    format!(
        r"
apiVersion: v1
kind: Namespace
metadata: {{name: {SYSTEM_NAMESPACE}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: demo-runner, namespace: {SYSTEM_NAMESPACE}}}
type: fovea.dev/runner-token
stringData:
  token: {token}
  hosts: 127.0.0.1:{runner_port}
---
apiVersion: fovea.dev/v1alpha1
kind: RunnerPool
metadata: {{name: default, namespace: {SYSTEM_NAMESPACE}}}
spec:
  models:
{models}
  allowedNamespaces: {{from: All}}
  external:
    endpoints: ['http://127.0.0.1:{runner_port}']
    tokenSecretRef: {{name: demo-runner}}
"
    )
}
