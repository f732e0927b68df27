//! The longest time without a result while a pool's models change under a steady load.

use anyhow::Result;
use fovea_crds::{InferenceJob, Task};
use fovea_tests::Pods;
use fovea_tests::measure::median;
use fovea_tests::pods::{PATIENCE, condition};
use futures::TryStreamExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use std::collections::HashSet;
use std::pin::pin;
use std::time::{Duration, Instant};

const POOL: &str = "rolling";

const AT_A_TIME: usize = 4;

/// Time at rest, for comparison.
const AT_REST: Duration = Duration::from_secs(20);

pub(crate) async fn time(it: &Pods, rounds: usize) -> Result<()> {
    println!("\nlongest gap between results under a steady load, median of {rounds}, in seconds");
    for replicas in [1_u32, 2] {
        let (mut rest, mut rolling) = (Vec::new(), Vec::new());
        it.apply(POOL, &json!({"replicas": replicas})).await?;
        it.ready(POOL, replicas).await?;
        for round in 0..rounds {
            let quiet = async {
                tokio::time::sleep(AT_REST).await;
                Ok(())
            };
            rest.push(Box::pin(gap(it, quiet)).await?);
            let size = 1 + u32::try_from(round % 2)?;
            rolling.push(Box::pin(gap(it, rollout(it, replicas, size))).await?);
        }
        println!(
            "  {replicas} runners: {:.2} at rest, {:.2} while every runner is replaced",
            median(rest),
            median(rolling)
        );
    }
    it.scale_to_nothing(POOL).await
}

/// Changes every model, and waits until all runners have the change.
async fn rollout(it: &Pods, replicas: u32, batch: u32) -> Result<()> {
    let pool = it.pools.get(POOL).await?;
    let mut models = serde_json::to_value(&pool.spec.models)?;
    for model in models.as_array_mut().into_iter().flatten() {
        model["maxBatchSize"] = json!(batch);
    }
    let patch = Patch::Merge(json!({"spec": {"models": models}}));
    let pool = it
        .pools
        .patch(POOL, &PatchParams::default(), &patch)
        .await?;
    let generation = pool.metadata.generation;
    it.pool_where(POOL, "to have rolled", PATIENCE, |status| {
        status.observed_generation == generation
            && condition(status, "Progressing")[0] == "False"
            && status.ready_replicas == replicas
            && status.replicas == replicas
    })
    .await?;
    Ok(())
}

/// The longest gap between two results while `event` lasts.
async fn gap(it: &Pods, event: impl Future<Output = Result<()>>) -> Result<f64> {
    let mut changes = pin!(watcher(it.jobs.clone(), watcher::Config::default()).applied_objects());
    let mut event = pin!(event);
    let (mut counted, mut ended) = (HashSet::new(), 0_usize);
    for _ in 0..AT_A_TIME {
        submit(it).await?;
    }
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    loop {
        tokio::select! {
            happened = &mut event => {
                happened?;
                break;
            }
            job = changes.try_next() => {
                let Some(job) = job? else { break };
                let name = job.metadata.name.clone().unwrap_or_default();
                if !is_ended(&job) || !name.starts_with(POOL) || !counted.insert(name.clone()) {
                    continue;
                }
                // The first ones begin the measurement.
                if ended >= AT_A_TIME {
                    longest = longest.max(last.elapsed());
                }
                (last, ended) = (Instant::now(), ended + 1);
                it.jobs.delete(&name, &DeleteParams::default()).await?;
                submit(it).await?;
            }
        }
    }
    Ok(longest.max(last.elapsed()).as_secs_f64())
}

async fn submit(it: &Pods) -> Result<()> {
    let name = format!("{POOL}-{}", uuid::Uuid::new_v4().simple());
    it.submit(&name, POOL, Task::ImageToText).await
}

fn is_ended(job: &InferenceJob) -> bool {
    let status = job.status.as_ref();
    status.is_some_and(|status| status.phase.is_terminal())
}
