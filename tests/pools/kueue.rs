//! Runners that the real Kueue admits. Run by `make test-kueue`, which builds Kueue first.

use crate::degraded::degraded;
use anyhow::{Result, ensure};
use fovea_crds::{RunnerPoolStatus, Task};
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::Pods;
use fovea_tests::kueue::Kueue;
use fovea_tests::pods::{PATIENCE, condition, is_skipped};
use serde_json::{Value, json};

const GATE: &str = "kueue.x-k8s.io/admission";

/// A queue for the runners of the system's namespace, with this much CPU.
async fn queue(it: &Pods, cpu: &str) -> Result<()> {
    let quota = [("cpu", cpu), ("memory", "10Gi")];
    let quota = quota.map(|(name, quota)| json!({"name": name, "nominalQuota": quota}));
    let group = json!({
        "coveredResources": ["cpu", "memory"],
        "flavors": [{"name": "nodes", "resources": quota}],
    });
    let version = "kueue.x-k8s.io/v1beta2";
    let objects = [
        json!({"apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": "nodes"}}),
        json!({
            "apiVersion": version, "kind": "ClusterQueue", "metadata": {"name": "runners"},
            "spec": {"namespaceSelector": {}, "resourceGroups": [group]},
        }),
        json!({
            "apiVersion": version, "kind": "LocalQueue",
            "metadata": {"name": "runners", "namespace": SYSTEM_NAMESPACE},
            "spec": {"clusterQueue": "runners"},
        }),
    ];
    let manifests = objects.map(|object| object.to_string()).join("\n---\n");
    it.cluster
        .control_plane
        .kubectl_apply("", &manifests)
        .await?;
    Ok(())
}

fn template(annotation: &str) -> Value {
    json!({"replicas": 2, "template": {
        "labels": {"kueue.x-k8s.io/queue-name": "runners"},
        "annotations": {"example.com/round": annotation},
        "resources": {"requests": {"cpu": "100m", "memory": "300Mi"}},
    }})
}

fn well(status: &RunnerPoolStatus) -> bool {
    let is = |kind: &str, value: &str| condition(status, kind)[0] == value;
    status.ready_replicas == 2 && is("Degraded", "False") && is("Progressing", "False")
}

#[tokio::test]
#[ignore = "needs Kueue: make test-kueue"]
async fn runners_wait_in_kueue_s_queue_and_their_pool_says_so() -> Result<()> {
    if is_skipped() {
        return Ok(());
    }
    let it = Pods::start(1, &["--surge-timeout-seconds=5"]).await?;
    let kueue = Kueue::start(&it).await?;
    queue(&it, "150m").await?;
    let steps = async {
        it.apply("queued", &template("one")).await?;
        degraded(&it, "queued", "SchedulingGated", &[GATE]).await?;
        let one = |status: &RunnerPoolStatus| {
            (status.replicas, status.ready_replicas) == (2, 1)
                && condition(status, "Degraded")[1] == "SchedulingGated"
        };
        let status = it
            .pool_where("queued", "to have one admitted", PATIENCE, one)
            .await?;
        eprintln!("with quota for one: {:#?}", status.conditions);
        it.submit("admitted", "queued", Task::ImageToText).await?;
        it.succeeded("admitted").await?;

        queue(&it, "250m").await?;
        it.pool_where("queued", "to have both admitted", PATIENCE, well)
            .await?;

        // There is no quota for an additional runner.
        let generation = it
            .apply("queued", &template("two"))
            .await?
            .metadata
            .generation;
        let swaps = |status: &RunnerPoolStatus| {
            let [value, reason, message] = condition(status, "Progressing");
            (value, reason) == ("True", "ReplacingOneByOne") && message.contains(GATE)
        };
        it.pool_where("queued", "to replace one by one", PATIENCE, swaps)
            .await?;
        it.pool_where("queued", "to have rolled", PATIENCE, |status| {
            status.observed_generation == generation && well(status)
        })
        .await?;
        it.scale_to_nothing("queued").await
    };
    let done: Result<()> = steps.await;
    ensure!(done.is_ok(), "{done:?}\n{}", kueue.process.log_tail());
    Ok(())
}
