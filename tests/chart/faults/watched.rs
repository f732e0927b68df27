//! A release that a Prometheus watches.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{Callback, InferenceJob, InferenceJobSpec, Input, Output, OutputFormat};
use fovea_crds::{Phase, RunnerPool, Task};
use fovea_harness::eventually;
use fovea_harness::prometheus::{self, Alert, Prometheus, PrometheusOptions};
use fovea_store::ObjectKey;
use fovea_tests::demo::first;
use fovea_tests::installed::{PATIENCE, POOL};
use fovea_tests::pods::store;
use fovea_tests::{Installed, crowd, jobs};
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
        Ok(Self {
            it,
            prometheus,
            fired: BTreeSet::new(),
        })
    }

    pub(super) async fn fires(&mut self, name: &str) -> Result<()> {
        let full = format!("Fovea{name}");
        let what = format!("{full} to fire");
        let fires = eventually(&what, FIRES, async || {
            let alerts = self.prometheus.alerts().await?;
            let mut found = alerts.iter().filter(|alert| alert.state == "firing");
            let found = found.find(|alert| alert.name() == full);
            let names: Vec<_> = alerts.iter().map(Alert::name).collect();
            found.cloned().with_context(|| format!("{names:?}"))
        });
        let alert = fires.await?;
        // Annotations have their values filled in.
        for text in alert.annotations.values() {
            let filled = !text.contains("{{") && !text.contains("<no value>");
            ensure!(filled, "{alert:#?}");
        }
        self.fired.insert(full);
        Ok(())
    }

    pub(super) async fn rests(&self, name: &str) -> Result<()> {
        let full = format!("Fovea{name}");
        let what = format!("{full} to end");
        let rests = eventually(&what, PATIENCE, async || {
            let alerts = self.prometheus.alerts().await?;
            ensure!(alerts.iter().all(|alert| alert.name() != full), "it fires");
            Ok(())
        });
        Ok(rests.await?)
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

    /// Creates a batch of one picture in the namespace `default`.
    pub(super) async fn submit_batch(&self, name: &str) -> Result<()> {
        let (picture, _) = first::<String>("captions.json");
        let key = ObjectKey::data("default", &format!("{name}/1.jpg"))?;
        let store = store(&self.it.minio).await?;
        store.put(&key, picture.into(), "image/jpeg").await?;
        let input = Input::Prefix {
            prefix: name.to_owned(),
            include: Vec::new(),
            exclude: Vec::new(),
        };
        let mut spec = InferenceJobSpec::new(Task::ImageToText, input);
        spec.output = Some(Output {
            prefix: format!("{name}-captions"),
            format: OutputFormat::Jsonl,
        });
        crowd::create(&self.it.jobs, [InferenceJob::new(name, spec)]).await
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
        let status = jobs::ended(&self.it.jobs, name).await?;
        ensure!(status.phase == Phase::Succeeded, "{status:?}");
        Ok(())
    }

    pub(super) async fn submit_for(&self, name: &str, receiver: String) -> Result<()> {
        crowd::create(&self.it.jobs, [job(name, Some(receiver))]).await
    }

    pub(super) async fn pods(&self, label: &str) -> Result<Vec<(String, String)>> {
        let labelled = ListParams::default().labels(label);
        let pods = self.it.pods.list(&labelled).await?.items.into_iter();
        let named = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let named = named.map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()));
        Ok(named.collect())
    }
}

fn job(name: &str, receiver: Option<String>) -> InferenceJob {
    let (picture, _) = first::<String>("captions.json");
    let mut job = jobs::inline(name, &picture);
    job.spec.callback = receiver.map(|url| Callback { url });
    job
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
    let without_threshold = "OperatorDown NoLeader OperatorReplicasMissing ApiDown \
        PoolWithoutRunners PoolRunnersMissing RunnersDown ApiChecksFailing ModelNotReady \
        CallbacksGivenUp ObjectsSetAside NamespaceFull";
    for name in without_threshold.split_whitespace() {
        alerts[name] = json!({"for": "0s"});
    }
    for (name, threshold) in [
        ("ApiErrors", 0.05),
        ("ApiSlow", 1.0),
        ("QueueOld", 5.0),
        ("BatchStalled", 5.0),
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
