//! Batches, on a runner whose pictures say what becomes of them: see `fovea_tests::shards`.

use crate::restored::restored;
use anyhow::{Context as _, Result, ensure};
use fovea_crds::{
    Counts, InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, Output, OutputFormat, Phase,
    Task,
};
use fovea_harness::eventually;
use fovea_protocol::Row;
use fovea_store::{ObjectKey, Sha256, Store};
use fovea_tests::operated::{JOBS, Operated, Options, PATIENCE};
use fovea_tests::pods::store;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A batch over `data/default/<name>/`.
fn batch(name: &str) -> InferenceJob {
    let prefix = name.to_owned();
    let input = Input::Prefix {
        prefix,
        include: Vec::new(),
        exclude: Vec::new(),
    };
    let mut spec = InferenceJobSpec::new(Task::ImageToText, input);
    spec.output = Some(Output {
        prefix: format!("{name}-out"),
        format: OutputFormat::Jsonl,
    });
    InferenceJob::new(name, spec)
}

/// Puts objects with these names below the batch's prefix.
async fn put(operated: &Operated, batch: &str, names: &[String]) -> Result<Store> {
    let store = store(&operated.minio).await?;
    for name in names {
        let key = ObjectKey::data(JOBS, &format!("{batch}/{name}"))?;
        store.put(&key, "picture".into(), "image/jpeg").await?;
    }
    Ok(store)
}

fn pictures(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{number:05}.jpg"))
        .collect()
}

/// Every row of the output, in order, checked against `_SUCCESS.json` if there is one.
async fn rows(
    store: &Store,
    job: &str,
    uid: &str,
    status: &InferenceJobStatus,
) -> Result<Vec<Row>> {
    let output = status.output.as_ref().context("no output")?;
    assert_eq!(output.prefix, format!("{job}-out/{uid}"));
    let mut rows = Vec::new();
    let objects = store.list_data(JOBS, &output.prefix)?.next().await?;
    let mut digests = BTreeMap::new();
    for object in objects.context("an empty output")? {
        let text = store
            .get(&ObjectKey::data(JOBS, &object.key)?, 1 << 20)
            .await?;
        let name = object.key.rsplit('/').next().unwrap_or_default();
        digests.insert(name.to_owned(), Sha256::of(&text).to_string());
        if name.starts_with("part-") {
            for line in String::from_utf8(text.to_vec())?.lines() {
                rows.push(serde_json::from_str(line)?);
            }
        }
    }
    let success = digests.get("_SUCCESS.json");
    assert_eq!(success, output.success_sha256.as_ref());
    if success.is_some() {
        let key = ObjectKey::output(JOBS, &format!("{job}-out"), uid, "_SUCCESS.json")?;
        let success: Value = serde_json::from_slice(&store.get(&key, 1 << 20).await?)?;
        let parts = success["parts"].as_array().context("no parts")?;
        assert_eq!(parts.len(), digests.len() - 1);
        for part in parts {
            let name = part["name"].as_str().context("no name")?;
            assert_eq!(
                part["sha256"].as_str(),
                digests.get(name).map(String::as_str)
            );
        }
    }
    Ok(rows)
}

/// Waits until the runner has done so many pictures of the batch in one attempt.
async fn done(operated: &Operated, uid: &str, count: usize) -> Result<()> {
    let reached = eventually("pictures that are done", PATIENCE, || async {
        let shards = operated.runner.shards();
        let mut of_batch = shards.iter().filter(|shard| shard.request.job == uid);
        ensure!(of_batch.any(|shard| shard.done == count), "none yet");
        Ok(())
    });
    Ok(reached.await?)
}

#[test]
fn each_picture_of_a_batch_has_its_row_in_order_and_what_is_no_picture_is_counted() -> Result<()> {
    Operated::shared(async |operated| {
        let mut names = pictures(1203);
        names[600] = "00600-bad.jpg".to_owned();
        let mut objects = names.clone();
        objects.push("notes.txt".to_owned());
        let store = put(operated, "whole", &objects).await?;
        let job = operated.create(&batch("whole")).await?;
        let status = operated.ended("whole").await?;
        assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
        let counts = Counts {
            total: 1203,
            succeeded: 1202,
            failed: 1,
            skipped: 1,
            reused: 0,
        };
        assert_eq!(status.counts, Some(counts));
        assert_eq!(status.progress_permille, Some(1000));
        assert_eq!(status.summary.as_deref(), Some("1203/1203, 1 failed"));
        let model = status.model.as_ref().context("no model")?;
        assert_eq!((&*model.name, &*model.revision), ("captions", "scripted"));
        let uid = job.uid().context("no uid")?;
        let rows = rows(&store, "whole", &uid, &status).await?;
        let keys: Vec<String> = rows.into_iter().map(|row| row.key).collect();
        let expected: Vec<String> = names.iter().map(|name| format!("whole/{name}")).collect();
        assert_eq!(keys, expected);
        Ok(())
    })
}

#[tokio::test]
async fn a_picture_that_kills_its_runner_costs_only_itself() -> Result<()> {
    let operated = Operated::start(Options::default()).await?;
    let mut names = pictures(12);
    names[7] = "00007-kill.jpg".to_owned();
    let store = put(&operated, "victims", &names).await?;
    let job = operated.create(&batch("victims")).await?;
    let status = operated.ended("victims").await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    let rows = rows(&store, "victims", &job.uid().unwrap(), &status).await?;
    let failed: Vec<&Row> = rows.iter().filter(|row| row.error.is_some()).collect();
    assert_eq!(rows.len(), 12);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].key, "victims/00007-kill.jpg");
    assert_eq!(failed[0].error.as_ref().unwrap().reason, "RunnerLost");
    operated.audit.check();
    Ok(())
}

#[tokio::test]
async fn a_new_leader_goes_on_where_parts_end_and_runs_none_of_them_again() -> Result<()> {
    let operated = Operated::start(Options::default().short_lease()).await?;
    let names: Vec<String> = (0..320)
        .map(|number| format!("{number:03}-slow.jpg"))
        .collect();
    // The first ranges end soon, and the others take until they are told to finish.
    let mut names: Vec<String> = names;
    for name in names.iter_mut().take(200) {
        *name = name.replace("slow", "fast");
    }
    let store = put(&operated, "resumed", &names).await?;
    let job = operated.create(&batch("resumed")).await?;
    let uid = job.uid().unwrap();
    eventually("a part", PATIENCE, || async {
        let parts = store.parts(&uid).await?;
        ensure!(!parts.is_empty(), "none yet");
        Ok(())
    })
    .await?;
    let before = store.parts(&uid).await?;
    operated.operator.kill().await?;
    let options = Options::default().short_lease();
    let _next = operated.another_operator(&options, None).await?;
    // What is left is faster, so that the test is.
    operated
        .status_where("resumed", "to go on", |status| {
            status.counts.is_some_and(|counts| counts.done() > 0)
        })
        .await?;
    operated.patch("resumed", json!({"cancel": true})).await?;
    let status = operated.ended("resumed").await?;
    assert_eq!(status.phase, Phase::Cancelled, "{status:?}");
    let rows = rows(&store, "resumed", &uid, &status).await?;
    let done: u64 = before.iter().map(|part| part.to - part.from).sum();
    assert!(rows.len() as u64 >= done);
    assert_eq!(status.output.as_ref().unwrap().success_sha256, None);
    for part in before {
        let again = operated.runner.shards().into_iter().filter(|attempt| {
            let request = &attempt.request;
            request.shard == part.shard && request.from <= part.from && request.to > Some(part.from)
        });
        assert_eq!(again.count(), 1, "{part}");
    }
    Ok(())
}

#[test]
fn parallelism_holds_a_batch_and_is_changed_while_it_runs() -> Result<()> {
    Operated::shared(async |operated| {
        put(operated, "held", &pictures(300)).await?;
        let mut job = batch("held");
        job.spec.parallelism = Some(0);
        let job = operated.create(&job).await?;
        let uid = job.uid().unwrap();
        let held = operated
            .status_where("held", "to be planned", |status| {
                status.counts.is_some_and(|counts| counts.total == 300)
            })
            .await?;
        assert_eq!(held.phase, Phase::Running);
        let of_it = |uid: &str| {
            let shards = operated.runner.shards();
            shards
                .into_iter()
                .filter(|shard| shard.request.job == uid)
                .count()
        };
        assert_eq!(of_it(&uid), 0);
        operated.patch("held", json!({"parallelism": 1})).await?;
        let status = operated.ended("held").await?;
        assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
        assert!(of_it(&uid) > 0);
        Ok(())
    })
}

#[test]
fn a_batch_that_is_held_or_suspended_keeps_what_is_done_and_goes_on_when_it_is_resumed()
-> Result<()> {
    Operated::shared(async |operated| {
        let mut names = pictures(30);
        for name in names.iter_mut().skip(3) {
            *name = name.replace(".jpg", "-slow.jpg");
        }
        let store = put(operated, "paused", &names).await?;
        let job = operated.create(&batch("paused")).await?;
        let uid = job.uid().unwrap();
        done(operated, &uid, 3).await?;
        let suspended = async |reason: &str| {
            let is = |status: &InferenceJobStatus| {
                let mut conditions = status.conditions.iter();
                conditions.any(|each| {
                    (each.type_.as_str(), each.status.as_str()) == ("Suspended", "True")
                        && each.reason == reason
                })
            };
            operated.status_where("paused", reason, is).await
        };
        restored(operated, "paused", "hold").await?;
        assert_eq!(suspended("Restored").await?.phase, Phase::Pending);
        operated.patch("paused", json!({"suspend": true})).await?;
        suspended("Suspended").await?;
        restored(operated, "paused", "run").await?;
        let done = store.parts(&uid).await?;
        assert!(!done.is_empty());
        operated.patch("paused", json!({"suspend": false})).await?;
        let status = operated.ended("paused").await?;
        assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
        let rows = rows(&store, "paused", &uid, &status).await?;
        assert_eq!(rows.len(), 30);
        assert!(store.parts(&uid).await?.len() > done.len());
        Ok(())
    })
}

#[test]
fn a_batch_ends_early_when_too_many_of_its_pictures_fail() -> Result<()> {
    Operated::shared(async |operated| {
        let names: Vec<String> = (0..250)
            .map(|number| format!("{number:03}-bad.jpg"))
            .collect();
        let store = put(operated, "poor", &names).await?;
        let mut job = batch("poor");
        job.spec.max_failed_permille = Some(100);
        let job = operated.create(&job).await?;
        let status = operated.ended("poor").await?;
        assert_eq!(status.phase, Phase::Failed);
        assert_eq!(status.failure.as_ref().unwrap().reason, "TooManyFailed");
        let rows = rows(&store, "poor", &job.uid().unwrap(), &status).await?;
        assert!(rows.len() >= 26, "{}", rows.len());
        Ok(())
    })
}

#[test]
fn too_many_failures_that_are_known_at_the_end_only_count_as_well() -> Result<()> {
    Operated::shared(async |operated| {
        let names = ["a-bad.jpg", "b.jpg", "c.jpg"].map(str::to_owned);
        let store = put(operated, "last", &names).await?;
        let mut job = batch("last");
        job.spec.max_failed_permille = Some(100);
        let job = operated.create(&job).await?;
        let status = operated.ended("last").await?;
        assert_eq!(status.failure.as_ref().unwrap().reason, "TooManyFailed");
        assert_eq!(status.counts.unwrap().failed, 1);
        let rows = rows(&store, "last", &job.uid().unwrap(), &status).await?;
        assert_eq!(rows.len(), 3);
        Ok(())
    })
}

#[test]
fn a_cancelled_batch_keeps_what_its_shards_have_done() -> Result<()> {
    Operated::shared(async |operated| {
        let mut names = pictures(40);
        for name in names.iter_mut().skip(3) {
            *name = name.replace(".jpg", "-slow.jpg");
        }
        let store = put(operated, "ended", &names).await?;
        let job = operated.create(&batch("ended")).await?;
        let uid = job.uid().unwrap();
        done(operated, &uid, 3).await?;
        operated.patch("ended", json!({"cancel": true})).await?;
        let status = operated.ended("ended").await?;
        assert_eq!(status.phase, Phase::Cancelled);
        let rows = rows(&store, "ended", &uid, &status).await?;
        assert!((3..40).contains(&rows.len()), "{}", rows.len());
        assert_eq!(status.counts.unwrap().done(), rows.len() as u64);
        assert!(status.progress_permille.unwrap() < 1000);
        Ok(())
    })
}

#[test]
fn a_batch_without_pictures_fails_and_says_where_it_looked() -> Result<()> {
    Operated::shared(async |operated| {
        operated.create(&batch("nothing")).await?;
        let failure = operated.ended("nothing").await?.failure.unwrap();
        assert_eq!(failure.reason, "NoPictures");
        assert!(
            failure.message.contains("data/default/nothing"),
            "{failure:?}"
        );
        Ok(())
    })
}

#[test]
fn a_runner_gets_no_url_outside_of_its_range() -> Result<()> {
    Operated::shared(async |operated| {
        put(operated, "greed", &["greedy.jpg".to_owned()]).await?;
        let mut job = batch("greed");
        job.spec.retry.limit = 0;
        operated.create(&job).await?;
        let status = operated.ended("greed").await?;
        assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
        assert_eq!(status.counts.unwrap().failed, 1);
        Ok(())
    })
}
