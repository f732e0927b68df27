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
use std::time::{Duration, Instant};

const POOL: &str = "cold";

/// Stages of a cold start: the first three are read from the pod, the last from the job's timings; the fourth
/// is the rest.
const STAGES: [&str; 5] = [
    "scale up: the pod is there",
    "schedule: it has a node",
    "start: its process runs",
    "load and warm up",
    "run: fetch, infer, tell",
];

/// Stages that are read from the pod.
const OF_POD: usize = 3;

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
    let mut reached = 0;
    while reached < OF_POD {
        let pod = changes.try_next().await?.context("a watch without end")?;
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        while reached < OF_POD && stage_of(&pod) > reached {
            seconds[reached] = last.elapsed().as_secs_f64();
            last = Instant::now();
            reached += 1;
        }
    }
    let status = it.succeeded(job).await?;
    let rest = last.elapsed();
    let timings = status.timings.context("the job's timings")?;
    let run = Duration::from_millis(timings.fetch_millis + timings.infer_millis);
    seconds[OF_POD] = rest.saturating_sub(run).as_secs_f64();
    seconds[OF_POD + 1] = run.as_secs_f64();
    Ok(seconds)
}

/// Number of stages that the pod has completed.
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
    match (is("PodScheduled"), running) {
        (_, true) => 3,
        (true, false) => 2,
        (false, false) => 1,
    }
}
