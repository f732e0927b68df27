//! Outcomes of attempts, and what follows for the job.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJobStatus, Input, JobResult, Phase, conditions};
use fovea_tests::Operated;
use serde_json::json;

#[test]
fn a_job_gets_its_runner_s_answer_in_one_attempt() -> Result<()> {
    Operated::shared(async |operated| {
        let job = operated.submit("plain", "caption a cat on a mat").await?;
        let status = operated.ended("plain").await?;
        let caption = JobResult::Caption("a cat on a mat".to_owned());
        assert_eq!((status.phase, status.attempts), (Phase::Succeeded, 1));
        assert_eq!(status.result, Some(caption));
        let attempts = operated.runner.attempts_of(&job.metadata.uid.unwrap());
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        operated.judge();
        Ok(())
    })
}

#[test]
fn the_url_of_a_picture_is_valid_for_minutes_however_long_the_attempt_may_take() -> Result<()> {
    Operated::shared(async |operated| {
        let mut job = Operated::job("patient", "");
        job.spec.input = Input::Object {
            key: "cat.jpg".to_owned(),
        };
        job.spec.attempt_deadline_seconds = 86_400;
        let uid = operated.create(&job).await?.metadata.uid.unwrap();
        operated.ended("patient").await?;
        let attempts = operated.runner.attempts_of(&uid);
        let url: url::Url = attempts[0].url.as_deref().context("no URL")?.parse()?;
        let expires = url.query_pairs().find(|(name, _)| name == "X-Amz-Expires");
        assert_eq!(expires.context("no X-Amz-Expires")?.1, "300");
        Ok(())
    })
}

#[test]
fn a_job_that_runs_for_a_while_says_what_its_runner_was_doing() -> Result<()> {
    Operated::shared(async |operated| {
        operated.submit("slow", "wait 3000 caption late").await?;
        let running = |status: &InferenceJobStatus| status.phase == Phase::Running;
        let status = operated.status_where("slow", "runs", running).await?;
        let scheduled = conditions::get(&status.conditions, conditions::SCHEDULED);
        let message = &scheduled.context("no condition Scheduled")?.message;
        ensure!(message.ends_with("was running the model"), "{message}");
        Ok(())
    })
}

#[test]
fn permanent_failures_are_not_retried() -> Result<()> {
    Operated::shared(async |operated| {
        operated
            .submit("hopeless", "problem InvalidPicture")
            .await?;
        let status = operated.ended("hopeless").await?;
        assert_eq!((status.phase, status.attempts), (Phase::Failed, 1));
        assert_eq!(status.failure.unwrap().reason, "InvalidPicture");
        Ok(())
    })
}

#[test]
fn transient_failures_are_retried_up_to_the_limit() -> Result<()> {
    Operated::shared(async |operated| {
        let mut job = Operated::job("unlucky", "problem OutOfMemory");
        job.spec.retry = serde_json::from_value(json!({
            "limit": 1, "initialDelaySeconds": 1, "maxDelaySeconds": 1,
        }))?;
        let uid = operated.create(&job).await?.metadata.uid.unwrap();
        let status = operated.ended("unlucky").await?;
        assert_eq!((status.phase, status.attempts), (Phase::Failed, 2));
        assert_eq!(operated.runner.attempts_of(&uid).len(), 2);
        Ok(())
    })
}

/// The runner is at fault, but each counts as an attempt, so that the job ends.
#[test]
fn an_invalid_runner_answer_counts_as_an_attempt() -> Result<()> {
    Operated::shared(async |operated| {
        for script in ["garbage", "html", "endless"] {
            let mut job = Operated::job(
                &format!("nonsense-{script}"),
                &format!("{script}\ncaption x"),
            );
            job.spec.retry.initial_delay_seconds = 1;
            operated.create(&job).await?;
        }
        for script in ["garbage", "html", "endless"] {
            let status = operated.ended(&format!("nonsense-{script}")).await?;
            assert_eq!(
                (status.phase, status.attempts, status.interruptions),
                (Phase::Succeeded, 2, 0),
                "{script}: {status:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_runner_that_disconnects_or_stops_answering_is_an_interruption() -> Result<()> {
    Operated::shared(async |operated| {
        for script in ["close", "wait 100 close", "short", "silent"] {
            let name = format!("lost-{}", script.replace(' ', "-"));
            operated
                .submit(&name, &format!("{script}\ncaption x"))
                .await?;
        }
        for script in ["close", "wait 100 close", "short", "silent"] {
            let name = format!("lost-{}", script.replace(' ', "-"));
            let status = operated.ended(&name).await?;
            assert_eq!(
                (status.phase, status.attempts, status.interruptions),
                (Phase::Succeeded, 1, 1),
                "{script}: {status:?}"
            );
        }
        Ok(())
    })
}
