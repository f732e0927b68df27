//! An operator whose clock is wrong.

use crate::sweeping::{Bucket, NOBODY};
use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobSpec, Input, Phase, Task};
use fovea_harness::eventually;
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_store::{ObjectKey, Sha256, Store, StoreConfig};
use fovea_tests::operated::{BUCKET, JOBS, OPERATOR, PATIENCE, apply_pool};
use fovea_tests::proxy::Proxy;
use fovea_tests::skew::Clock;
use fovea_tests::{Operated, Options};
use kube::ResourceExt as _;
use serde_json::json;

/// Longer than the default queue deadline.
const AHEAD_SECONDS: i64 = 2 * 86_400;

/// Has the operator end and delete a job, after everything that it was told before.
async fn end_and_delete(operated: &Operated, name: &str) -> Result<()> {
    let mut job = Operated::job(name, "caption x");
    job.spec.ttl_seconds_after_finished = Some(1);
    job.spec.cancel = true;
    operated.create(&job).await?;
    eventually("the job's TTL", PATIENCE, async || {
        let found = operated.jobs.get_opt(name).await?;
        ensure!(found.is_none(), "{}", operated.operator.log_tail());
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_operator_whose_clock_is_days_ahead_fails_no_job_and_deletes_none_early() -> Result<()> {
    let clock = Clock::new(0)?;
    let options = Options {
        env: clock.env(),
        ..Options::default()
    };
    let mut operated = Operated::start(options).await?;
    let mut kept = Operated::job("kept", "caption x");
    kept.spec.ttl_seconds_after_finished = Some(3600);
    operated.create(&kept).await?;
    operated.ended("kept").await?;
    let mut running = Operated::job("running", "wait 600000 caption x");
    running.spec.active_deadline_seconds = Some(3600);
    let running = operated.create(&running).await?;
    operated.begun(&running.uid().unwrap(), 1).await?;
    let mut pending = Operated::job("pending", "caption x");
    let pool = json!({"name": "to-come", "namespace": SYSTEM_NAMESPACE});
    pending.spec.pool_ref = serde_json::from_value(pool)?;
    operated.create(&pending).await?;

    // Its clock jumps, and then it starts with the wrong one.
    clock.set(AHEAD_SECONDS)?;
    for (round, restarts) in [false, true].into_iter().enumerate() {
        if restarts {
            operated.operator.restart().await?;
            operated.is_ready().await?;
        }
        // Has both looked at again.
        operated
            .patch("pending", json!({"priority": round}))
            .await?;
        operated
            .patch("kept", json!({"ttlSecondsAfterFinished": 3601 + round}))
            .await?;
        for step in 0..2 {
            end_and_delete(&operated, &format!("step-{round}-{step}")).await?;
        }
        assert_eq!(operated.jobs.get("pending").await?.phase(), Phase::Pending);
        assert!(!operated.jobs.get("running").await?.is_finished());
        assert!(operated.jobs.get_opt("kept").await?.is_some());
    }
    let metrics = format!("{}/metrics", operated.health_url);
    let metrics = reqwest::get(metrics).await?.text().await?;
    let skew = metrics.lines().find_map(|line| {
        let seconds = line.strip_prefix("fovea_operator_clock_skew_seconds ")?;
        seconds.parse::<f64>().ok()
    });
    let skew = skew.unwrap_or_default();
    assert!((skew - 172_800.0).abs() < 30.0, "{skew}");

    operated.patch("running", json!({"cancel": true})).await?;
    assert_eq!(operated.ended("running").await?.phase, Phase::Cancelled);
    let url = operated.runner.url.clone();
    apply_pool(&operated.client, "to-come", &[&url], &json!({})).await?;
    let done = operated.ended("pending").await?;
    assert_eq!(done.phase, Phase::Succeeded);
    let completed = done.completion_time.unwrap().0;
    let apart = jiff::Timestamp::now().duration_since(completed).as_secs();
    assert!(apart.abs() < 60, "completed {apart} s ago");

    the_store_accepts_what_it_signs(&operated).await?;
    operated.judge();
    Ok(())
}

/// A job reads a stored picture by the URL that the operator signs.
async fn the_store_accepts_what_it_signs(operated: &Operated) -> Result<()> {
    let minio = &operated.minio;
    let config = StoreConfig::at(minio.endpoint().parse()?, BUCKET);
    let store = Store::connect_as(&config, minio.access_key(), minio.secret_key()).await?;
    let picture = ObjectKey::data(JOBS, "cat.jpg")?;
    store.put(&picture, "x".into(), "image/jpeg").await?;
    let key = "cat.jpg".to_owned();
    let spec = InferenceJobSpec::new(Task::ImageToText, Input::Object { key });
    let stored = operated.create(&InferenceJob::new("stored", spec)).await?;
    assert_eq!(operated.ended("stored").await?.phase, Phase::Succeeded);
    let attempts = operated.runner.attempts_of(&stored.uid().unwrap());
    let read = reqwest::get(attempts[0].url.as_ref().unwrap()).await?;
    assert_eq!((read.status().as_u16(), &*read.text().await?), (200, "x"));
    Ok(())
}

/// The value of a gauge of the operator.
async fn gauge(operated: &Operated, name: &str) -> Result<f64> {
    let metrics = reqwest::get(format!("{}/metrics", operated.health_url)).await?;
    let metrics = metrics.text().await?;
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    Ok(value.context("no such metric")?.parse()?)
}

/// The operator's clock is the API server's. Here that is twenty minutes from the store's.
#[tokio::test]
async fn what_an_operator_signs_has_the_store_s_time_where_the_api_server_s_is_another()
-> Result<()> {
    for (seconds, side) in [(1200_i32, "ahead of"), (-1200, "behind")] {
        let options = Options::default();
        let mut operated = Operated::start(options.clone()).await?;
        let proxy = Proxy::start(&operated.control_plane, Some(OPERATOR)).await?;
        proxy.set_ahead(seconds.into());
        operated.operator.terminate().await?;
        let (operator, health) = operated.standby_by(&options, &proxy.kubeconfig).await?;
        (operated.operator, operated.health_url) = (operator, health);
        operated.is_ready().await?;

        the_store_accepts_what_it_signs(&operated).await?;

        let skew = gauge(&operated, "fovea_operator_store_clock_skew_seconds").await?;
        assert!((skew - f64::from(seconds)).abs() < 30.0, "{skew}");
        let ready = reqwest::get(format!("{}/readyz?verbose", operated.health_url)).await?;
        let ready = ready.text().await?;
        let named = format!("the API server's clock is 20 minutes {side} the object store's");
        assert!(
            ready.contains(&format!("[+]store-clock ok: {named}")),
            "{ready}"
        );

        // The pool is looked at again after an edit.
        apply_pool(
            &operated.client,
            "default",
            &[&operated.runner.url],
            &json!({
                "fairness": {"maxInFlight": 7},
            }),
        )
        .await?;
        eventually("the pool's condition", PATIENCE, async || {
            let status = operated.pools.get("default").await?.status;
            let conditions = status.unwrap_or_default().conditions;
            let degraded = conditions.iter().find(|each| each.type_ == "Degraded");
            let degraded = degraded.context("no condition")?;
            ensure!(degraded.message.contains(&named), "{degraded:?}");
            ensure!(degraded.status == "False", "{degraded:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Longer than the grace period of a sweep: by the operator's clock, a picture that was just put is old.
#[tokio::test]
async fn objects_age_by_the_store_s_clock() -> Result<()> {
    let options = Options::flags(["--sweep-every-seconds=1", "--sweep-grace-seconds=1800"]);
    let mut operated = Operated::start(options.clone()).await?;
    let proxy = Proxy::start(&operated.control_plane, Some(OPERATOR)).await?;
    proxy.set_ahead(2700);
    operated.operator.terminate().await?;
    let bucket = Bucket::of(&operated.minio).await?;
    let upload = |text: &[u8]| ObjectKey::upload("no-such-namespace", NOBODY, &Sha256::of(text));
    let (fresh, old) = (upload(b"fresh")?, upload(b"old")?);
    bucket.put(&fresh).await?;
    bucket.put_old(&old).await?;
    let (operator, health) = operated.standby_by(&options, &proxy.kubeconfig).await?;
    (operated.operator, operated.health_url) = (operator, health);
    bucket.loses(&old).await?;
    let skew = gauge(&operated, "fovea_operator_store_clock_skew_seconds").await?;
    assert!((skew - 2700.0).abs() < 30.0, "{skew}");
    // Each sweep looks at both.
    let again = upload(b"old, too")?;
    bucket.put_old(&again).await?;
    bucket.loses(&again).await?;
    assert!(bucket.has(&fresh).await?);
    Ok(())
}
