//! Life of a job: cancellation, suspension, deadlines, refusals and deletion.

use anyhow::{Result, anyhow};
use fovea_crds::{Input, JobResult, Phase};
use fovea_harness::eventually;
use fovea_tests::operated::{JOBS, PATIENCE, create_namespace};
use fovea_tests::{Operated, Options};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

/// Status and reason of a condition.
fn condition(status: &fovea_crds::InferenceJobStatus, type_: &str) -> Option<(String, String)> {
    let found = status.conditions.iter().find(|each| each.type_ == type_)?;
    Some((found.status.clone(), found.reason.clone()))
}

async fn gone(operated: &Operated, name: &str) -> Result<()> {
    let found = eventually("the job to be deleted", PATIENCE, async || {
        match operated.jobs.get_opt(name).await? {
            None => Ok(()),
            Some(job) => Err(anyhow!(
                "{:?}\n{}",
                job.metadata,
                operated.operator.log_tail()
            )),
        }
    });
    Ok(found.await?)
}

#[test]
fn a_job_cancelled_while_it_runs_is_aborted_and_has_no_result() -> Result<()> {
    Operated::shared(async |operated| {
        let job = operated.submit("cancelled", "wait 60000 caption x").await?;
        let uid = job.metadata.uid.unwrap();
        operated.begun(&uid, 1).await?;
        operated.patch("cancelled", json!({"cancel": true})).await?;
        let status = operated.ended("cancelled").await?;
        assert_eq!((status.phase, status.result), (Phase::Cancelled, None));
        let broken_off = eventually("the attempt to end", PATIENCE, async || {
            let attempts = operated.runner.attempts_of(&uid);
            anyhow::ensure!(
                attempts.iter().all(|each| each.ended.is_some()),
                "{attempts:?}"
            );
            Ok(attempts)
        });
        assert!(!broken_off.await?[0].answered);
        operated.judge();
        Ok(())
    })
}

#[tokio::test]
async fn a_job_cancelled_in_the_queue_never_starts() -> Result<()> {
    let options = Options {
        slots: 1,
        ..Options::default()
    };
    let operated = Operated::start(options).await?;
    let first = operated.submit("first", "wait 60000 caption x").await?;
    operated.begun(&first.metadata.uid.unwrap(), 1).await?;
    let second = operated.submit("second", "caption x").await?;
    operated.patch("second", json!({"cancel": true})).await?;
    assert_eq!(operated.ended("second").await?.phase, Phase::Cancelled);
    assert!(
        operated
            .runner
            .attempts_of(&second.metadata.uid.unwrap())
            .is_empty()
    );

    // Nor does one whose queue deadline is over; the running job goes on.
    let mut late = Operated::job("late", "caption x");
    late.spec.queue_deadline_seconds = 1;
    let late = operated.create(&late).await?;
    let status = operated.ended("late").await?;
    assert_eq!(status.failure.unwrap().reason, "QueueDeadlineExceeded");
    assert!(
        operated
            .runner
            .attempts_of(&late.metadata.uid.unwrap())
            .is_empty()
    );
    operated.patch("first", json!({"cancel": true})).await?;
    operated.ended("first").await?;
    operated.judge();
    Ok(())
}

#[test]
fn a_suspended_job_starts_when_it_is_resumed() -> Result<()> {
    Operated::shared(async |operated| {
        let mut job = Operated::job("suspended", "caption x");
        job.spec.suspend = true;
        let uid = operated.create(&job).await?.metadata.uid.unwrap();
        let suspended =
            |status: &_| condition(status, "Suspended").is_some_and(|it| it.0 == "True");
        operated
            .status_where("suspended", "to be suspended", suspended)
            .await?;
        assert!(operated.runner.attempts_of(&uid).is_empty());
        operated
            .patch("suspended", json!({"suspend": false}))
            .await?;
        assert_eq!(operated.ended("suspended").await?.phase, Phase::Succeeded);
        Ok(())
    })
}

#[test]
fn deadlines_end_attempts_and_jobs() -> Result<()> {
    Operated::shared(async |operated| {
        let mut slow = Operated::job("slow-attempt", "wait 60000 caption x");
        slow.spec.attempt_deadline_seconds = 1;
        slow.spec.retry.limit = 0;
        operated.create(&slow).await?;
        let mut long = Operated::job("long-job", "wait 60000 caption x");
        long.spec.active_deadline_seconds = Some(2);
        operated.create(&long).await?;
        let mut refused = Operated::job("refused", "busy");
        refused.spec.queue_deadline_seconds = 3;
        operated.create(&refused).await?;
        for (name, reason, attempts) in [
            ("slow-attempt", "DeadlineExceeded", 1),
            ("long-job", "ActiveDeadlineExceeded", 1),
            ("refused", "QueueDeadlineExceeded", 0),
        ] {
            let status = operated.ended(name).await?;
            let failure = status.failure.clone().unwrap();
            assert_eq!(
                (failure.reason.as_str(), status.attempts),
                (reason, attempts),
                "{status:?}"
            );
        }
        operated.judge();
        Ok(())
    })
}

#[test]
fn a_job_that_no_pool_accepts_lists_the_choices_and_waits_for_a_pool() -> Result<()> {
    Operated::shared(async |operated| {
        let mut nowhere = Operated::job("nowhere", "caption x");
        nowhere.spec.pool_ref = serde_json::from_value(json!({
            "name": "to-come", "namespace": fovea_harness::stack::SYSTEM_NAMESPACE,
        }))?;
        let nowhere = operated.create(&nowhere).await?;
        let held = operated
            .status_where("nowhere", "to be held", |status| {
                condition(status, "Accepted") == Some(("False".into(), "PoolNotFound".into()))
            })
            .await?;
        let message = &held.conditions[0].message;
        assert!(message.contains("fovea-system/default"), "{message}");
        let mut unknown = Operated::job("unknown-model", "caption x");
        unknown.spec.model = Some("gpt".to_owned());
        operated.create(&unknown).await?;
        let failure = operated.ended("unknown-model").await?.failure.unwrap();
        assert_eq!(failure.reason, "UnknownModel");
        assert!(failure.message.contains("captions"), "{}", failure.message);

        operated.add_pool("to-come").await?;
        assert_eq!(operated.ended("nowhere").await?.phase, Phase::Succeeded);

        let events: Api<Event> = Api::namespaced(operated.client.clone(), JOBS);
        let uid = nowhere.uid().unwrap();
        let events = eventually("an Event of it", PATIENCE, async || {
            let mut events = events.list(&ListParams::default()).await?.items;
            let about = |event: &Event| event.regarding.as_ref().and_then(|it| it.uid.clone());
            events.retain(|event| about(event).as_ref() == Some(&uid));
            anyhow::ensure!(!events.is_empty(), "none");
            Ok(events)
        });
        let reasons: Vec<_> = events
            .await?
            .into_iter()
            .map(|event| event.reason)
            .collect();
        assert_eq!(
            reasons,
            [Some("PoolNotFound".to_owned())],
            "and none of its success"
        );
        Ok(())
    })
}

#[test]
fn a_long_result_is_stored_whole_and_an_endless_one_is_rejected() -> Result<()> {
    Operated::shared(async |operated| {
        let labelled = |name: &str, count: u32| {
            let mut job = Operated::job(name, &format!("labels {count}"));
            job.spec.task = fovea_crds::Task::ImageClassification;
            job.spec.retry.limit = 0;
            job
        };
        operated.create(&labelled("long", 3_000)).await?;
        operated
            .create(&labelled("over-every-bound", 30_000))
            .await?;
        let status = operated.ended("long").await?;
        assert_eq!(status.phase, Phase::Succeeded);
        assert!(status.result_bytes > Some(100_000), "{status:?}");
        let Some(JobResult::Predictions(head)) = status.result else {
            panic!("another form of result");
        };
        assert!(!head.is_empty() && head.len() < 3_000);
        let refused = operated.ended("over-every-bound").await?;
        assert_eq!(refused.failure.unwrap().reason, "InvalidRunnerAnswer");
        Ok(())
    })
}

#[tokio::test]
async fn a_finished_job_is_deleted_after_its_ttl_even_after_a_restart() -> Result<()> {
    let mut operated = Operated::start(Options::default()).await?;
    let mut at_once = Operated::job("at-once", "caption x");
    at_once.spec.ttl_seconds_after_finished = Some(0);
    operated.create(&at_once).await?;
    gone(&operated, "at-once").await?;
    let mut later = Operated::job("later", "caption x");
    later.spec.ttl_seconds_after_finished = Some(5);
    operated.create(&later).await?;
    operated.submit("kept", "caption x").await?;
    operated.ended("later").await?;
    operated.operator.restart().await?;
    gone(&operated, "later").await?;
    assert_eq!(operated.ended("kept").await?.phase, Phase::Succeeded);
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn a_deleted_namespace_takes_its_jobs_along_and_blocks_no_other() -> Result<()> {
    let operated = Operated::start(Options::default()).await?;
    create_namespace(&operated.client, "doomed").await?;
    let jobs = Api::namespaced(operated.client.clone(), "doomed");
    let mut job = Operated::job("at-work", "wait 60000 caption x");
    assert!(matches!(job.spec.input, Input::Inline { .. }));
    job = jobs.create(&PostParams::default(), &job).await?;
    operated.begun(&job.metadata.uid.unwrap(), 1).await?;
    let namespaces: Api<Namespace> = Api::all(operated.client.clone());
    namespaces
        .delete("doomed", &DeleteParams::default())
        .await?;
    let deleted = eventually(
        "the namespace to be gone",
        PATIENCE,
        async || match namespaces.get_opt("doomed").await? {
            None => Ok(()),
            Some(found) => Err(anyhow!("{:?}", found.status)),
        },
    );
    deleted.await?;
    operated.submit("elsewhere", "caption x").await?;
    assert_eq!(operated.ended("elsewhere").await?.phase, Phase::Succeeded);
    operated.judge();
    Ok(())
}
