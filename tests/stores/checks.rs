//! What is checked on each store, in the order of its use.

use crate::bucket;
use crate::survey::{SCRIPTED, Surveyed};
use anyhow::{Context as _, Result, ensure};
use fovea_crds::{Input, Phase, PoolRef, Task};
use fovea_harness::ServesS3 as _;
use fovea_harness::eventually;
use fovea_harness::stack::{BUCKET, JOB_NAMESPACE as NAMESPACE, SYSTEM_NAMESPACE};
use fovea_store::{ObjectKey, Sha256};
use fovea_tests::batches::{self, Written};
use fovea_tests::{Operated, demo, jobs};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(2);
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";
/// More than an eighth of a page, in folders of their own.
const ORPHANS: u32 = 120;
/// Of a result that is too large for a job's status.
const LABELS: usize = 3000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Check {
    Caption,
    LargeResult,
    Links,
    OddKeys,
    LongNames,
    RefusedKeys,
    Delete,
    Cancel,
    Sweep,
    WrongKey,
    NoBucket,
    Outage,
}

impl Check {
    pub(crate) const ALL: [Self; 12] = [
        Self::Caption,
        Self::LargeResult,
        Self::Links,
        Self::OddKeys,
        Self::LongNames,
        Self::RefusedKeys,
        Self::Delete,
        Self::Cancel,
        Self::Sweep,
        Self::WrongKey,
        Self::NoBucket,
        Self::Outage,
    ];

    /// Its words in the table of the docs.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Caption => "upload and caption",
            Self::LargeResult => "large result",
            Self::Links => "signed download",
            Self::OddKeys => "keys with spaces, +, ü and 800 bytes",
            Self::LongNames => "names over 255 bytes",
            Self::RefusedKeys => "batch beside refused keys",
            Self::Delete => "delete",
            Self::Cancel => "cancel",
            Self::Sweep => "sweep",
            Self::WrongKey => "wrong key named",
            Self::NoBucket => "missing bucket named",
            Self::Outage => "store down and back",
        }
    }

    pub(crate) async fn run(self, surveyed: &Surveyed) -> Result<()> {
        match self {
            Self::Caption => caption(surveyed).await,
            Self::LargeResult => large_result(surveyed).await,
            Self::Links => links(surveyed).await,
            Self::OddKeys => odd_keys(surveyed).await,
            Self::LongNames => long_names(surveyed).await,
            Self::RefusedKeys => refused_keys(surveyed).await,
            Self::Delete => delete(surveyed).await,
            Self::Cancel => cancel(surveyed).await,
            Self::Sweep => sweep(surveyed).await,
            Self::WrongKey => wrong_key(surveyed).await,
            Self::NoBucket => no_bucket(surveyed).await,
            Self::Outage => outage(surveyed).await,
        }
    }
}

async fn caption(surveyed: &Surveyed) -> Result<()> {
    let (picture, expected) = demo::first::<String>("captions.json");
    let job = surveyed.visitor.submitted_and_ended(&picture, &[]).await?;
    ensure!(job["result"]["caption"] == expected, "{job}");
    Ok(())
}

async fn large_result(surveyed: &Surveyed) -> Result<()> {
    let mut job = Operated::job("large", &format!("labels {LABELS}"));
    job.spec.task = Task::ImageClassification;
    job.spec.pool_ref = Some(PoolRef {
        name: SCRIPTED.to_owned(),
        namespace: Some(SYSTEM_NAMESPACE.to_owned()),
    });
    surveyed.jobs.create(&PostParams::default(), &job).await?;
    let status = jobs::ended(&surveyed.jobs, "large").await?;
    ensure!(status.phase == Phase::Succeeded, "{status:?}");
    ensure!(status.result_bytes.is_some(), "{status:?}");
    let body = followed(surveyed, "/v1/jobs/large/result").await?;
    let result: Value = serde_json::from_slice(&body)?;
    let predictions = result["predictions"].as_array().context("no labels")?;
    ensure!(predictions.len() == LABELS, "{}", predictions.len());
    Ok(())
}

/// The body behind a redirect to the store.
async fn followed(surveyed: &Surveyed, path: &str) -> Result<Vec<u8>> {
    let url = surveyed.visitor.url(path);
    let answer = surveyed.http.get(url).send().await?;
    if answer.status() == 200 {
        return Ok(answer.bytes().await?.into());
    }
    ensure!(answer.status() == 307, "{}", answer.status());
    let link = answer.headers()["location"].to_str()?.to_owned();
    ensure!(link.starts_with(surveyed.stack.store.endpoint()), "{link}");
    let answer = surveyed.http.get(&link).send().await?;
    let status = answer.status();
    let body = answer.bytes().await?;
    ensure!(
        status == 200,
        "{status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(body.into())
}

async fn links(surveyed: &Surveyed) -> Result<()> {
    let (picture, _) = demo::first::<String>("captions.json");
    let job = surveyed.visitor.submitted_and_ended(&picture, &[]).await?;
    let id = job["id"].as_str().context("no id")?;
    let body = followed(surveyed, &format!("/v1/jobs/{id}/input")).await?;
    ensure!(body == picture, "{} bytes", body.len());
    Ok(())
}

/// Runs a batch over these keys, below one prefix; `name` is the batch's and the prefix's.
async fn batch_over(surveyed: &Surveyed, name: &str, keys: &[String]) -> Result<()> {
    for (number, key) in (0..).zip(keys) {
        let picture = batches::picture(number);
        batches::put(
            &surveyed.store,
            NAMESPACE,
            &format!("{name}/{key}"),
            picture,
        )
        .await
        .with_context(|| key.clone())?;
    }
    let (task, input) = (Task::ImageClassification, batches::prefix(name));
    let job = batches::batch(name, task, input, &format!("out/{name}"));
    surveyed.jobs.create(&PostParams::default(), &job).await?;
    let status = jobs::ended(&surveyed.jobs, name).await?;
    ensure!(status.phase == Phase::Succeeded, "{status:?}");
    let output = status.output.as_ref().context("no output")?;
    let rows = Written::read(&surveyed.store, NAMESPACE, output)
        .await?
        .rows()?;
    let read = rows.into_iter().filter(|row| row.error.is_none());
    let read: Vec<_> = read.collect();
    batches::each_once(&read, keys.iter().map(|key| format!("{name}/{key}")))
}

async fn odd_keys(surveyed: &Surveyed) -> Result<()> {
    let folder = "f".repeat(200);
    let keys = [
        "with spaces in it.bmp".to_owned(),
        "plus+plus.bmp".to_owned(),
        "grün/über.bmp".to_owned(),
        "(brackets)[x]&'q'=~!@,;.bmp".to_owned(),
        format!("{folder}/{folder}/{folder}/{folder}.bmp"),
    ];
    batch_over(surveyed, "odd", &keys).await?;
    // A single job's picture, which is found without a list.
    let key = "odd/grün/über.bmp".to_owned();
    let mut job = jobs::inline("odd-one", b"");
    job.spec.task = Task::ImageClassification;
    job.spec.input = Input::Object { key };
    surveyed.jobs.create(&PostParams::default(), &job).await?;
    let status = jobs::ended(&surveyed.jobs, "odd-one").await?;
    ensure!(status.phase == Phase::Succeeded, "{status:?}");
    Ok(())
}

/// A file system's names end at 255 bytes, S3's keys at 1024.
async fn long_names(surveyed: &Surveyed) -> Result<()> {
    let name = "n".repeat(300);
    batch_over(surveyed, "long", &[format!("{name}.bmp")]).await
}

/// A user's bucket has keys that Fovea refuses: they cost the batch nothing but a row.
async fn refused_keys(surveyed: &Surveyed) -> Result<()> {
    for key in ["100%.bmp", "a%2Fb.bmp", "empty//name.bmp"] {
        let (key, picture) = (
            format!("data/{NAMESPACE}/refused/{key}"),
            batches::picture(9),
        );
        if let Err(error) = bucket::put_raw(&surveyed.stack.store, &key, &picture).await {
            eprintln!("the store refuses {key}: {error:#}");
        }
    }
    let keys = ["a.bmp", "z.bmp"].map(str::to_owned);
    batch_over(surveyed, "refused", &keys).await
}

async fn delete(surveyed: &Surveyed) -> Result<()> {
    let (picture, _) = demo::first::<String>("captions.json");
    let job = surveyed.visitor.submitted_and_ended(&picture, &[]).await?;
    let path = format!("/v1/jobs/{}", job["id"].as_str().context("no id")?);
    let url = surveyed.visitor.url(&path);
    let deleted = surveyed.http.delete(&url).send().await?.status();
    ensure!(deleted.is_success(), "{deleted}");
    let gone = eventually("the job to go", PATIENCE, async || {
        let (status, job) = surveyed.visitor.get(&path).await?;
        ensure!(status == 404, "{status}: {job}");
        Ok(())
    });
    Ok(gone.await?)
}

async fn cancel(surveyed: &Surveyed) -> Result<()> {
    let mut job = jobs::inline("cancelled", &demo::first::<String>("captions.json").0);
    job.spec.suspend = true;
    surveyed.jobs.create(&PostParams::default(), &job).await?;
    let url = surveyed.visitor.url("/v1/jobs/cancelled/cancel");
    eventually("the job to be known", PATIENCE, async || {
        let status = surveyed.http.post(&url).send().await?.status();
        ensure!(status.is_success(), "{status}");
        Ok(())
    })
    .await?;
    let status = jobs::ended(&surveyed.jobs, "cancelled").await?;
    ensure!(status.phase == Phase::Cancelled, "{status:?}");
    Ok(())
}

/// Uploads that no job names go; the user's own stay.
async fn sweep(surveyed: &Surveyed) -> Result<()> {
    let (store, own) = (&surveyed.store, ObjectKey::data(NAMESPACE, "own/cat.jpg")?);
    store.put(&own, "x".into(), "image/jpeg").await?;
    let orphans: Vec<_> = (0..ORPHANS)
        .map(|number| ObjectKey::upload(NAMESPACE, NOBODY, &Sha256::of(&number.to_le_bytes())))
        .collect::<Result<_, _>>()?;
    let put = |key| async move { store.put(key, "x".into(), "image/jpeg").await };
    let putting = futures::stream::iter(&orphans).map(put);
    putting.buffer_unordered(8).try_collect::<()>().await?;
    let swept = eventually("the orphans to go", PATIENCE, async || {
        let mut left = 0;
        for key in &orphans {
            left += u32::from(store.modified(key).await?.is_some());
        }
        ensure!(
            left == 0,
            "{left} of {ORPHANS} are left: {}",
            surveyed.stack.operator.log_tail()
        );
        Ok(())
    });
    swept.await?;
    ensure!(
        store.modified(&own).await?.is_some(),
        "the user's own is gone"
    );
    Ok(())
}

/// Another API says what is wrong, and is not ready.
async fn named(surveyed: &Surveyed, secret: &str, bucket: &str, words: &str) -> Result<()> {
    let (api, url) = surveyed.another_api(secret, bucket).await?;
    let url = format!("{url}/readyz?verbose");
    let told = eventually("the API to say it", PATIENCE, async || {
        let answer = surveyed.http.get(&url).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status == 503 && text.contains(words), "{status}: {text}");
        Ok(())
    });
    // A server that accepts all of it is ready at once.
    let ready = async {
        api.wait_ready_http(&url, PATIENCE).await?;
        anyhow::bail!("the API is ready")
    };
    tokio::select! { told = told => Ok(told?), ready = ready => ready }
}

async fn wrong_key(surveyed: &Surveyed) -> Result<()> {
    named(
        surveyed,
        "not-the-secret-key",
        BUCKET,
        "refuses our credentials",
    )
    .await
}

async fn no_bucket(surveyed: &Surveyed) -> Result<()> {
    let secret = surveyed.stack.store.secret_key();
    named(surveyed, secret, "no-such-bucket", "does not exist").await
}

/// Its process stands still: connections are accepted and never answered.
async fn outage(surveyed: &Surveyed) -> Result<()> {
    let (picture, _) = demo::first::<String>("captions.json");
    let process = surveyed.stack.store.serving();
    process.pause()?;
    let submitted = surveyed.visitor.submit(&picture, &[]).await;
    process.resume()?;
    let (status, problem) = submitted?;
    ensure!((500..600).contains(&status), "{status}: {problem}");
    let back = eventually("uploads to work again", PATIENCE, async || {
        let (status, problem) = surveyed.visitor.submit(&picture, &[]).await?;
        ensure!(status == 202, "{status}: {problem}");
        Ok(problem)
    });
    let job = surveyed.visitor.job_ended(&back.await?["id"]).await?;
    ensure!(job["phase"] == "Succeeded", "{job}");
    Ok(())
}
