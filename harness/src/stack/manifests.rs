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
    run(cluster, &["apply", "-f", &crds], "").await?;
    let established = [
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "-f",
        &crds,
    ];
    run(cluster, &established, "").await?;
    run(cluster, &["apply", "-f", "-"], &pool(runner_port, token)).await
}

/// Waits until the operator reports a runner for every model.
pub(super) async fn wait_for_pool(cluster: &ControlPlane) -> Result<(), ClusterError> {
    let timeout = format!("--timeout={}s", READY.as_secs());
    let arguments = [
        "wait",
        "-n",
        SYSTEM_NAMESPACE,
        "runnerpool/default",
        "--for=condition=Ready",
        &timeout,
    ];
    run(cluster, &arguments, "").await
}

async fn run(cluster: &ControlPlane, arguments: &[&str], stdin: &str) -> Result<(), ClusterError> {
    cluster
        .kubectl_with(arguments, stdin)
        .await?
        .success(&arguments.join(" "))
        .map(drop)
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
