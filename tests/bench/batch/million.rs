//! A batch of very many pictures: its plan, its cost to the API server, and a leader's restart in its middle.

use crate::Arguments;
use crate::setting::{Setting, TINY, as_f64};
use anyhow::{Context as _, anyhow, ensure};
use fovea_crds::Input;
use fovea_harness::eventually;
use fovea_harness::stack::JOB_NAMESPACE;
use fovea_store::ObjectKey;
use fovea_tests::batches::put;
use fovea_tests::measure::{memory_bytes, percentile};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

const MANIFEST: &str = "million.jsonl";
const NAME: &str = "million";
const PATIENCE: Duration = Duration::from_mins(30);
const SAMPLES: Duration = Duration::from_millis(100);
/// Time in which the operator has nothing to do, before it is weighed.
const IDLE: Duration = Duration::from_secs(10);

/// Resident memory of a process, sampled.
struct Curve {
    samples: Arc<Mutex<Vec<u64>>>,
    _sampling: AbortOnDropHandle<()>,
}

impl Curve {
    fn start(pid: u32) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&samples);
        let sampling = tokio::spawn(async move {
            while let Ok(bytes) = memory_bytes(pid) {
                sink.lock().map(|mut samples| samples.push(bytes)).ok();
                tokio::time::sleep(SAMPLES).await;
            }
        });
        Self {
            samples,
            _sampling: AbortOnDropHandle::new(sampling),
        }
    }

    /// Ten points of the curve, and its peak, in MiB over `idle`.
    fn over(&self, idle: u64) -> anyhow::Result<String> {
        let samples = self
            .samples
            .lock()
            .map_err(|_| anyhow!("poisoned"))?
            .clone();
        let over = |bytes: u64| mib(bytes) - mib(idle);
        let points: Vec<_> = (0..10)
            .filter_map(|at| samples.get(at * samples.len() / 10))
            .map(|bytes| format!("{:.0}", over(*bytes)))
            .collect();
        let peak = samples.iter().max().copied().unwrap_or_default();
        Ok(format!(
            "{:.1} MiB at most; in time: {}",
            over(peak),
            points.join(" ")
        ))
    }
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(crate) async fn measure(setting: &mut Setting, arguments: &Arguments) -> anyhow::Result<()> {
    let count = arguments.million;
    eprintln!("a manifest of {count} lines");
    let lines = (0..count).map(|id| {
        let key = id % arguments.pictures;
        format!("{{\"key\":\"pictures/{key:06}.jpg\",\"id\":\"{id}\"}}\n")
    });
    put(
        &setting.store,
        JOB_NAMESPACE,
        MANIFEST,
        lines.collect::<String>(),
    )
    .await?;
    // A fresh process has none of the earlier batches' memory.
    setting.stack.operator.restart().await?;
    tokio::time::sleep(IDLE).await;
    let pid = setting.stack.operator.pid();
    let idle = memory_bytes(pid)?;
    let curve = Curve::start(pid);
    let (all, of_jobs) = setting.requests().await?;

    let began = Instant::now();
    let mut job = Setting::batch(
        NAME,
        TINY,
        Input::Manifest {
            key: MANIFEST.to_owned(),
        },
    );
    job.spec.parallelism = Some(0);
    let made = setting.jobs.create(&PostParams::default(), &job).await?;
    let plan = ObjectKey::plan(&made.metadata.uid.context("no uid")?)?;
    let planned = eventually("the plan", PATIENCE, async || {
        let found = setting.store.modified(&plan).await?;
        found.ok_or_else(|| anyhow!("none yet"))
    });
    planned.await?;
    let wall = began.elapsed().as_secs_f64();
    println!(
        "\n{count} keys planned in {wall:.1} s: {:.0} a second",
        as_f64(count) / wall
    );
    println!(
        "memory of the operator over idle ({:.0} MiB), planning: {}",
        mib(idle),
        curve.over(idle)?
    );

    let began = Instant::now();
    release(setting).await?;
    done(setting, arguments.half).await?;
    println!(
        "memory over idle until {} of 1000 were done: {}",
        arguments.half,
        curve.over(idle)?
    );
    restart(setting).await?;
    if arguments.to_the_end {
        let status = setting.ended(NAME).await?;
        ensure!(
            status
                .counts
                .is_some_and(|counts| counts.succeeded == count as u64),
            "{status:?}"
        );
        let wall = began.elapsed().as_secs_f64();
        println!(
            "all done after {wall:.0} s: {:.0} pictures a second",
            as_f64(count) / wall
        );
    }
    let (all_now, of_jobs_now) = setting.requests().await?;
    println!(
        "requests to the API server: {:.0}, of which {:.0} for jobs; {:.0} s",
        all_now - all,
        of_jobs_now - of_jobs,
        began.elapsed().as_secs_f64(),
    );
    let cancel = Patch::Merge(json!({"spec": {"cancel": true}}));
    setting
        .jobs
        .patch(NAME, &PatchParams::default(), &cancel)
        .await?;
    setting.ended(NAME).await?;
    Ok(())
}

async fn release(setting: &Setting) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": {"parallelism": null}}));
    setting
        .jobs
        .patch(NAME, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn done(setting: &Setting, permille: u32) -> anyhow::Result<()> {
    let reached = eventually("the middle", PATIENCE, async || {
        let status = setting.jobs.get(NAME).await?.status.unwrap_or_default();
        ensure!(
            status.progress_permille.unwrap_or_default() >= permille,
            "{status:?}"
        );
        Ok(())
    });
    Ok(reached.await?)
}

/// From a leader's start to a shard in the runner.
async fn restart(setting: &mut Setting) -> anyhow::Result<()> {
    let (url, token) = setting.runner().await?;
    let mut spans = Vec::new();
    for _ in 0..3 {
        setting.stack.operator.terminate().await?;
        let idle = eventually("no shard", PATIENCE, async || {
            let state = setting.runner_state(&url, &token).await?;
            ensure!(state.shards_busy == 0, "{state:?}");
            Ok(())
        });
        idle.await?;
        let began = Instant::now();
        setting.stack.operator.restart().await?;
        let busy = eventually("the first dispatch", PATIENCE, async || {
            let state = setting.runner_state(&url, &token).await?;
            ensure!(state.shards_busy > 0, "{state:?}");
            Ok(())
        });
        busy.await?;
        spans.push(began.elapsed().as_secs_f64());
    }
    println!(
        "a leader's restart in the middle: {:.1} s to the first dispatch (median of {})",
        percentile(spans.clone(), 50),
        spans.len()
    );
    Ok(())
}
