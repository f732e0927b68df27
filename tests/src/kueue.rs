//! The real Kueue beside a cluster with nodes: its definitions and webhooks from its own chart, its
//! controller as a process on this machine.

use crate::{Helm, Pods};
use anyhow::{Context as _, Result};
use fovea_harness::{Process, Program, eventually, ports};
use fovea_setup::cache::Cache;
use fovea_setup::{go::KUEUE, kueue_chart};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const NAMESPACE: &str = "kueue-system";
const SERVICE: &str = "kueue-webhook-service";
/// Certificate of the webhooks, which Kueue writes.
const CERTIFICATE: &str = "kueue-webhook-server-cert";
/// Objects of the chart that this needs: not its Deployment, its roles and its aggregated APIs.
const KINDS: [&str; 4] = [
    "CustomResourceDefinition",
    "Secret",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];
const PATIENCE: Duration = Duration::from_mins(2);

/// Ends when dropped.
pub struct Kueue {
    pub process: Process,
    _folder: TempDir,
}

impl Kueue {
    /// Starts Kueue with its integration of pods, and waits until its webhooks answer.
    pub async fn start(it: &Pods) -> Result<Self> {
        let cache = Cache::from_env()?;
        let program = KUEUE.built(&cache, "kueue")?;
        let chart = kueue_chart::folder(&cache)?;
        let folder = TempDir::new()?;
        let [webhooks, health] = ports::free()?;
        install(it, &chart, webhooks).await?;

        let certificates = folder.path().join("certificates");
        std::fs::create_dir(&certificates)?;
        let config = json!({
            "apiVersion": "config.kueue.x-k8s.io/v1beta2", "kind": "Configuration",
            "namespace": NAMESPACE,
            "health": {"healthProbeBindAddress": format!("127.0.0.1:{health}")},
            "metrics": {"bindAddress": "0"},
            "webhook": {
                "host": it.cluster.gateway(), "port": webhooks, "certDir": certificates,
            },
            "leaderElection": {"leaderElect": false},
            "internalCertManagement": {
                "enable": true, "webhookServiceName": SERVICE, "webhookSecretName": CERTIFICATE,
            },
            "integrations": {"frameworks": ["pod"]},
        });
        let file = folder.path().join("config.json");
        std::fs::write(&file, config.to_string())?;
        let kubeconfig = it.cluster.control_plane.kubeconfig();
        let program = Program::new("kueue", program)
            .arg(format!("--config={}", file.display()))
            .arg("--feature-gates=VisibilityOnDemand=false")
            .env("KUBECONFIG", kubeconfig.display().to_string());
        let process = Process::start_in(it.cluster.guardian(), program).await?;
        mount(it, &certificates)
            .await
            .with_context(|| process.log_tail())?;
        let ready = format!("http://127.0.0.1:{health}/readyz");
        process.wait_ready_http(&ready, PATIENCE).await?;
        Ok(Self {
            process,
            _folder: folder,
        })
    }
}

/// Applies the chart's objects, and an endpoint of the webhooks' Service on this machine.
async fn install(it: &Pods, chart: &Path, port: u16) -> Result<()> {
    let plane = &it.cluster.control_plane;
    let helm = Helm::new(plane.kubeconfig())?;
    let chart = chart.display().to_string();
    let rendered = helm
        .run(&["template", "kueue", &chart, "--namespace", NAMESPACE])
        .await?;
    let is_needed = |object: &&str| {
        let mut lines = object.lines();
        lines.any(|line| KINDS.iter().any(|kind| line == format!("kind: {kind}")))
    };
    let needed: Vec<&str> = rendered.split("\n---\n").filter(is_needed).collect();
    plane
        .kubectl_line(&format!("create namespace {NAMESPACE}"))
        .await?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE}, "spec": {"ports": [{"port": 443}]},
    });
    let endpoint = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": SERVICE, "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": SERVICE},
        },
        "endpoints": [{"addresses": [it.cluster.gateway()], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
    });
    let objects = [service.to_string(), endpoint.to_string()];
    let objects = objects.iter().map(String::as_str).chain(needed);
    let manifests = objects.collect::<Vec<_>>().join("\n---\n");
    plane.kubectl_apply("--server-side", &manifests).await?;
    Ok(())
}

/// Copies the certificate where the kubelet would mount it.
async fn mount(it: &Pods, folder: &Path) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(it.client.clone(), NAMESPACE);
    let data = eventually("Kueue's certificate", PATIENCE, async || {
        let data = secrets.get(CERTIFICATE).await?.data;
        let data = data.filter(|data| data.contains_key("tls.crt"));
        data.context("it is not written yet")
    })
    .await?;
    // Kueue waits for tls.crt.
    for name in ["ca.crt", "tls.key", "tls.crt"] {
        let part = data.get(name).with_context(|| name.to_owned())?;
        std::fs::write(folder.join(name), &part.0)?;
    }
    Ok(())
}
