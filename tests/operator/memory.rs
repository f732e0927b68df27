//! What users write into their jobs costs the operator no memory, however much it is.

use anyhow::{Result, ensure};
use fovea_crds::{InferenceJob, Input, Phase};
use fovea_harness::{Process, eventually};
use fovea_tests::measure::peak_memory_bytes;
use fovea_tests::operated::PATIENCE;
use fovea_tests::{Operated, Options};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use kube::api::PostParams;

/// Jobs with as many labels and annotations as fit, and jobs with an inline picture.
const LABELLED: usize = 60;
const INLINE: usize = 60;

/// Of each labelled job; the API server stores their keys once more in its managed fields, and etcd takes
/// 1.5 MiB.
const LABELS: usize = 1600;
/// What the API server allows all annotations of an object, less their keys.
const ANNOTATION_BYTES: usize = 240 * 1024;

/// Bound on the memory that the jobs add, as documented: 100 KiB for an unfinished job, and 0.5 MiB for each of 64
/// writes at a time. What their users wrote, and their managed fields, take 170 MiB.
const BOUND_BYTES: u64 = (LABELLED as u64 + INLINE as u64) * 100 * 1024 + 64 * 512 * 1024;

fn suspended(name: &str) -> InferenceJob {
    let mut job = Operated::job(name, "caption x");
    job.spec.suspend = true;
    job
}

fn labelled(number: usize) -> InferenceJob {
    let domain = [
        "bulk".repeat(15),
        "bulk".repeat(15),
        "bulk".repeat(15),
        "bulk".repeat(15),
    ];
    let label = |label| {
        let key = format!("{}/{label:060}", domain.join("."));
        (key, "v".repeat(63))
    };
    let mut job = suspended(&format!("labelled-{number}"));
    job.metadata.labels = Some((0..LABELS).map(label).collect());
    let note = ("example.com/note".to_owned(), "n".repeat(ANNOTATION_BYTES));
    job.metadata.annotations = Some([note].into());
    job
}

fn inline(number: usize) -> InferenceJob {
    let mut job = suspended(&format!("inline-{number}"));
    let data = ByteString(vec![7; 64 * 1024]);
    job.spec.input = Input::Inline { data };
    let note = ("example.com/note".to_owned(), "n".repeat(150 * 1024));
    job.metadata.annotations = Some([note].into());
    job
}

async fn create(operated: &Operated) -> Result<()> {
    let jobs = (0..LABELLED).map(labelled).chain((0..INLINE).map(inline));
    let create = |job| async move {
        let created = operated.jobs.create(&PostParams::default(), &job).await;
        created.map(drop)
    };
    let creating = futures::stream::iter(jobs).map(create);
    Ok(creating.buffer_unordered(4).try_collect().await?)
}

/// The most memory that an operator has taken, once it has all jobs and has written so many statuses.
async fn peak(operator: &Process, health: &str, written: usize) -> Result<u64> {
    const STANDS: &str = r#"fovea_operator_status_writes_total{outcome="stands"} "#;
    let all = format!(
        r#"fovea_operator_jobs{{state="unfinished"}} {}"#,
        LABELLED + INLINE
    );
    eventually("the operator to have all jobs", PATIENCE, async || {
        let metrics = reqwest::get(format!("{health}/metrics")).await?;
        let metrics = metrics.text().await?;
        let mut lines = metrics.lines();
        let stands = lines.find_map(|line| line.strip_prefix(STANDS));
        let stands: usize = stands.unwrap_or("0").parse()?;
        let has_all = metrics.contains(&all) && stands >= written;
        ensure!(has_all, "{stands} writes\n{}", operator.log_tail());
        Ok(())
    })
    .await?;
    peak_memory_bytes(operator.pid())
}

#[tokio::test]
async fn labels_annotations_and_pictures_of_jobs_cost_the_operator_no_memory() -> Result<()> {
    let options = Options::default();
    let mut operated = Operated::start(options.clone()).await?;
    operated.submit("first", "caption x").await?;
    operated.ended("first").await?;
    let alone = peak_memory_bytes(operated.operator.pid())?;

    create(&operated).await?;
    // It notes in each that it is suspended.
    let watched = peak(&operated.operator, &operated.health_url, LABELLED + INLINE).await?;
    // The next leader lists them.
    operated.operator.terminate().await?;
    let (heir, health) = operated.standby(&options).await?;
    let listed = peak(&heir, &health, 0).await?;
    println!("alone {alone}, watched {watched}, listed {listed}");
    for peak in [watched, listed] {
        ensure!(
            peak < alone + BOUND_BYTES,
            "{} MiB, {} MiB alone",
            peak >> 20,
            alone >> 20
        );
    }

    // Its writes keep what it does not read.
    operated.operator = heir;
    operated
        .patch("labelled-0", serde_json::json!({"suspend": false}))
        .await?;
    let ended = operated.ended("labelled-0").await?;
    assert_eq!(ended.phase, Phase::Succeeded, "{ended:?}");
    let (now, made) = (operated.jobs.get("labelled-0").await?, labelled(0));
    assert_eq!(now.metadata.labels, made.metadata.labels);
    assert_eq!(now.metadata.annotations, made.metadata.annotations);
    Ok(())
}
