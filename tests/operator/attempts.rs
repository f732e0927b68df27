//! What an attempt's end makes of its job.

use anyhow::Result;
use fovea_crds::{JobResult, Phase};
use fovea_tests::Operated;
use serde_json::json;

#[test]
fn a_job_gets_what_its_runner_answers_by_one_attempt() -> Result<()> {
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
fn what_no_attempt_can_mend_is_not_tried_again() -> Result<()> {
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
fn a_failure_that_may_pass_is_tried_again_until_the_limit() -> Result<()> {
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

/// Each is a runner's own fault, and counted as an attempt: the job is not lost, and ends.
#[test]
fn a_runner_that_answers_nonsense_costs_an_attempt() -> Result<()> {
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
fn a_runner_that_breaks_off_or_falls_silent_is_an_interruption() -> Result<()> {
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
