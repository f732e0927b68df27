//! A release that a Prometheus watches.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{Callback, InferenceJob, InferenceJobSpec, Input, Phase, RunnerPool, Task};
use fovea_harness::eventually;
use fovea_harness::prometheus::{self, Alert, Prometheus, PrometheusOptions};
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::demo::first;
use fovea_tests::installed::{PATIENCE, POOL};
use fovea_tests::{Installed, crowd};
use k8s_openapi::ByteString;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Bound on the time from a fault to its alert.
const FIRES: Duration = Duration::from_mins(2);

pub(super) struct Watched {
    pub(super) it: Installed,
    pub(super) prometheus: Prometheus,
    pub(super) fired: BTreeSet<String>,
}

impl Watched {
    pub(super) async fn start() -> Result<Self> {
        let it = Installed::prepare().await?;
        prometheus::install_definitions(&it.cluster.control_plane).await?;
        it.install(&values(&it)).await?;
        let prometheus = Prometheus::start(&options(&it).await?).await?;
        let fired = BTreeSet::new();
        Ok(Self {
            it,
            prometheus,
            fired,
        })
    }

    pub(super) async fn fires(&mut self, name: &str) -> Result<()> {
        let full = format!("Fovea{name}");
        let what = format!("{full} to fire");
        let fires = eventually(&what, FIRES, async || {
            let alerts = self.prometheus.alerts().await?;
            let found = alerts
                .iter()
                .find(|alert| alert.name() == full && alert.state == "firing");
            let names: Vec<_> = alerts.iter().map(Alert::name).collect();
            found.cloned().with_context(|| format!("{names:?}"))
        });
        let alert = fires.await?;
        // Annotations have their values filled in.
        for text in alert.annotations.values() {
            ensure!(
                !text.contains("{{") && !text.contains("<no value>"),
                "{alert:#?}"
            );
        }
        self.fired.insert(full);
        Ok(())
    }

    pub(super) async fn rests(&self, name: &str) -> Result<()> {
        let full = format!("Fovea{name}");
        let what = format!("{full} to end");
        eventually(&what, PATIENCE, async || {
            let alerts = self.prometheus.alerts().await?;
            ensure!(alerts.iter().all(|alert| alert.name() != full), "it fires");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    }

    /// kubectl as the cluster's administrator, in the release's namespace.
    pub(super) async fn kubectl(&self, words: &[&str]) -> Result<String> {
        let arguments = [&["-n", SYSTEM_NAMESPACE], words].concat();
        let plane = &self.it.cluster.control_plane;
        Ok(plane.kubectl(&arguments).await?.success(&words.join(" "))?)
    }

    /// Scales a Deployment and waits for it.
    pub(super) async fn scale(&self, deployment: &str, replicas: u32) -> Result<()> {
        let name = format!("deployment/{deployment}");
        self.kubectl(&["scale", &name, &format!("--replicas={replicas}")])
            .await?;
        self.kubectl(&["rollout", "status", &name, "--timeout=110s"])
            .await?;
        Ok(())
    }

    pub(super) async fn pool(&self, spec: Value) -> Result<RunnerPool> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let params = PatchParams::default();
        Ok(self.it.pools.patch(POOL, &params, &patch).await?)
    }

    /// Creates jobs of the namespace `default` at once, each with a picture in it.
    pub(super) async fn submit(&self, prefix: &str, count: usize) -> Result<()> {
        let jobs = (0..count).map(|number| job(&format!("{prefix}-{number}"), None));
        crowd::create(&self.it.jobs, jobs).await
    }

    pub(super) async fn has_no_runners(&self) -> Result<()> {
        let gone = eventually("the runners to be gone", PATIENCE, async || {
            let labelled = ListParams::default().labels("fovea.dev/pool=default");
            let left = self.it.pods.list(&labelled).await?.items.len();
            ensure!(left == 0, "{left} pods");
            Ok(())
        });
        Ok(gone.await?)
    }

    pub(super) async fn ended(&self, name: &str) -> Result<()> {
        let what = format!("{name} to succeed");
        let ended = eventually(&what, PATIENCE, async || {
            let status = self.it.jobs.get(name).await?.status.unwrap_or_default();
            ensure!(status.phase == Phase::Succeeded, "{status:?}");
            Ok(())
        });
        Ok(ended.await?)
    }

    pub(super) async fn submit_for(&self, name: &str, receiver: String) -> Result<()> {
        crowd::create(&self.it.jobs, [job(name, Some(receiver))]).await
    }

    pub(super) async fn pods(&self, label: &str) -> Result<Vec<(String, String)>> {
        let pods = self
            .it
            .pods
            .list(&ListParams::default().labels(label))
            .await?;
        let named = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(named
            .map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()))
            .collect())
    }
}

fn job(name: &str, receiver: Option<String>) -> InferenceJob {
    let (picture, _) = first::<String>("captions.json");
    let data = ByteString(picture);
    let mut spec = InferenceJobSpec::new(Task::ImageToText, Input::Inline { data });
    spec.callback = receiver.map(|url| Callback { url });
    InferenceJob::new(name, spec)
}

/// Prometheus' options: the cluster's monitors and rules.
pub(super) async fn options(it: &Installed) -> Result<PrometheusOptions> {
    let plane = &it.cluster.control_plane;
    let second = Some(Duration::from_secs(1));
    Ok(PrometheusOptions {
        scrape_configs: prometheus::scrape_configs(plane, second).await?,
        rules: prometheus::rules(plane).await?,
        interval: second,
    })
}

/// A user's values with shorter waits.
fn values(it: &Installed) -> Value {
    let mut values = it.values();
    let at_once = |threshold: f64| json!({"for": "0s", "threshold": threshold});
    let mut alerts = json!({});
    for name in [
        "OperatorDown",
        "NoLeader",
        "OperatorReplicasMissing",
        "ApiDown",
        "PoolWithoutRunners",
        "PoolRunnersMissing",
        "RunnersDown",
        "ApiChecksFailing",
        "ModelNotReady",
        "CallbacksGivenUp",
        "ObjectsSetAside",
    ] {
        alerts[name] = json!({"for": "0s"});
    }
    for (name, threshold) in [
        ("ApiErrors", 0.05),
        ("ApiSlow", 1.0),
        ("QueueOld", 5.0),
        ("AttemptsFailing", 0.0001),
        ("RunnersLost", 0.0),
        ("ClusterErrors", 0.05),
        ("WatchesStale", 30.0),
        ("StoreErrors", 0.05),
        ("StatusWritesFailing", 0.05),
        ("CallbacksFailing", 0.5),
        ("SweepsFailing", 1.0),
    ] {
        alerts[name] = at_once(threshold);
    }
    values["metrics"] = json!({
        "serviceMonitor": {"enabled": true},
        "podMonitor": {"enabled": true},
        "prometheusRule": {
            "enabled": true, "window": "20s", "longWindow": "3m", "alerts": alerts,
        },
        "dashboard": {"enabled": true},
    });
    // Prometheus is no pod here, but runs beside the nodes.
    let ports = [8081, 9090, 9400].map(|port| json!({"port": port}));
    let machine = json!({"ipBlock": {"cidr": format!("{}/32", it.cluster.gateway())}});
    values["extraObjects"] = json!([{
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "prometheus-of-the-machine"},
        "spec": {
            "podSelector": {}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [machine], "ports": ports}],
        },
    }]);
    values["operator"] = json!({
        "leaderElection": {
            "leaseDurationMs": 6000, "renewDeadlineMs": 5000, "retryPeriodMs": 500,
        },
        "callbacks": {
            "allow": [it.cluster.gateway()], "firstDelayMs": 500, "windowSeconds": 5,
        },
        "sweep": {"everySeconds": 5},
    });
    values
}
