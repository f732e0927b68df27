//! From a job on a pool without runners to its result, by stage.

use anyhow::{Context as _, Result};
use fovea_crds::{RunnerPoolStatus, Task};
use fovea_tests::Pods;
use fovea_tests::measure::median;
use fovea_tests::pods::{PATIENCE, condition};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use std::time::Instant;

const POOL: &str = "cold";

/// What is seen of a pod, in this order, and what came before it took.
const STAGES: [&str; 5] = [
    "scale up: the pod is there",
    "schedule: it has a node",
    "start: its process runs",
    "load and warm up: it is ready",
    "run: the result is in the status",
];

pub(crate) async fn time(it: &Pods, rounds: usize) -> Result<()> {
    let wish = json!({"min": 0, "max": 1, "idleSeconds": 1, "targetQueueSeconds": 1});
    it.apply(POOL, &json!({"autoscaling": wish})).await?;
    let mut took: [Vec<f64>; STAGES.len()] = Default::default();
    let mut whole = Vec::new();
    for round in 0..rounds {
        it.pool_where(POOL, "to rest", PATIENCE, resting).await?;
        let seconds = round_of(it, &format!("cold-{round}")).await?;
        whole.push(seconds.iter().sum());
        for (all, seconds) in took.iter_mut().zip(seconds) {
            all.push(seconds);
        }
    }
    println!("\nfirst job of an empty pool, median of {rounds}, in seconds");
    for (stage, seconds) in STAGES.iter().zip(took) {
        println!("  {:6.2}  {stage}", median(seconds));
    }
    println!("  {:6.2}  in all", median(whole));
    it.scale_to_nothing(POOL).await
}

fn resting(status: &RunnerPoolStatus) -> bool {
    condition(status, "Ready")[1] == "ScaledToZero" && status.replicas == 0
}

/// Seconds of each stage, by when this program sees its end.
async fn round_of(it: &Pods, job: &str) -> Result<[f64; STAGES.len()]> {
    let config = watcher::Config::default().labels("fovea.dev/pool=cold");
    let mut changes = Box::pin(watcher(it.pods.clone(), config).applied_objects());
    let mut last = Instant::now();
    let mut seconds = [0.0; STAGES.len()];
    it.submit(job, POOL, Task::ImageToText).await?;
    let (of_pods, of_jobs) = seconds.split_at_mut(STAGES.len() - 1);
    let mut reached = 0;
    while reached < of_pods.len() {
        let pod = changes.try_next().await?.context("a watch without end")?;
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        while reached < of_pods.len() && stage_of(&pod) > reached {
            of_pods[reached] = last.elapsed().as_secs_f64();
            last = Instant::now();
            reached += 1;
        }
    }
    it.succeeded(job).await?;
    of_jobs[0] = last.elapsed().as_secs_f64();
    Ok(seconds)
}

/// How many of the stages the pod has behind it.
fn stage_of(pod: &Pod) -> usize {
    let Some(status) = &pod.status else { return 1 };
    let is = |name: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.any(|each| each.type_ == name && each.status == "True")
    };
    let running = (status.container_statuses.iter().flatten()).any(|each| {
        each.state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    });
    match (is("PodScheduled"), running, is("Ready")) {
        (_, _, true) => 4,
        (_, true, _) => 3,
        (true, ..) => 2,
        _ => 1,
    }
}
