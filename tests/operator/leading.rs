//! Leader election between two replicas: take-overs, and no job that ends twice.

use anyhow::{Result, anyhow};
use fovea_crds::{InferenceJobStatus, Phase};
use fovea_harness::{eventually, stack};
use fovea_tests::operated::PATIENCE;
use fovea_tests::skew::Clock;
use fovea_tests::{Operated, Options};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use std::time::Duration;

async fn lease(operated: &Operated) -> Result<LeaseSpec> {
    let leases: Api<Lease> = Api::namespaced(operated.client.clone(), stack::SYSTEM_NAMESPACE);
    let lease = leases.get("fovea-operator").await?;
    Ok(lease.spec.unwrap_or_default())
}

async fn transitions(operated: &Operated, count: i32) -> Result<()> {
    let found = eventually("another leader", PATIENCE, async || {
        let spec = lease(operated).await?;
        let held = spec
            .holder_identity
            .as_deref()
            .is_some_and(|it| !it.is_empty());
        if held && spec.lease_transitions == Some(count) {
            Ok(())
        } else {
            Err(anyhow!("{spec:?}"))
        }
    });
    Ok(found.await?)
}

/// The periods are so long that only the watch on the Lease can cause the take-over.
#[tokio::test]
async fn a_standby_takes_over_at_once_when_the_leader_stops() -> Result<()> {
    let options = Options::flags([
        "--lease-duration-ms=600000",
        "--lease-renew-deadline-ms=590000",
        "--lease-retry-period-ms=580000",
    ]);
    let operated = Operated::start(options.clone()).await?;
    let standby = operated.another_operator(&options, None).await?;
    let stands_by = async || {
        let log = standby.log_tail();
        anyhow::ensure!(log.contains("standing by"), "{log}");
        Ok(())
    };
    eventually("the standby", PATIENCE, stands_by).await?;
    let job = operated.submit("at-work", "wait 60000\ncaption x").await?;
    let uid = job.metadata.uid.unwrap();
    operated.begun(&uid, 1).await?;
    assert!(operated.operator.terminate().await?.success());
    transitions(&operated, 1).await?;
    let attempts = operated.begun(&uid, 2).await?;
    assert!(attempts[0].ended.is_some() && !attempts[0].answered);
    assert!(attempts[0].epoch < attempts[1].epoch, "{attempts:?}");
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn a_standby_takes_over_within_one_lease_when_the_leader_is_killed() -> Result<()> {
    let options = Options::default().short_lease();
    let operated = Operated::start(options.clone()).await?;
    let _standby = operated.another_operator(&options, None).await?;
    let uid = operated.submit("killed", "wait 4000 caption x").await?;
    let uid = uid.metadata.uid.unwrap();
    operated.begun(&uid, 1).await?;
    operated.operator.kill().await?;
    transitions(&operated, 1).await?;
    let status = operated.ended("killed").await?;
    assert_eq!((status.phase, status.attempts), (Phase::Succeeded, 1));
    assert_eq!(operated.runner.attempts_of(&uid).len(), 2);
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_frozen_writes_nothing_after_it_resumes() -> Result<()> {
    let options = Options::default().short_lease();
    let operated = Operated::start(options.clone()).await?;
    let _standby = operated.another_operator(&options, None).await?;
    for number in 0..4 {
        let name = format!("frozen-{number}");
        let uid = operated.submit(&name, "wait 6000 caption x").await?;
        operated.begun(&uid.metadata.uid.unwrap(), 1).await?;
    }
    operated.operator.pause()?;
    transitions(&operated, 1).await?;
    for number in 0..4 {
        let status = operated.ended(&format!("frozen-{number}")).await?;
        assert_eq!((status.phase, status.attempts), (Phase::Succeeded, 1));
    }
    operated.operator.resume()?;
    let exit = operated.operator.wait(Duration::from_secs(30)).await?;
    assert!(!exit.success(), "a lost lease is an error");
    operated.submit("after", "caption y").await?;
    operated.ended("after").await?;
    operated.judge();
    Ok(())
}

/// To a candidate whose clock is a minute ahead, the lease's renew time is long past; to one a minute
/// behind, it is in the future.
#[tokio::test]
async fn replicas_with_clocks_a_minute_apart_keep_the_lease() -> Result<()> {
    for seconds in [60, -60] {
        let clock = Clock::new(seconds)?;
        let options = Options::default().short_lease();
        let operated = Operated::start(options.clone()).await?;
        let skewed = Options {
            env: clock.env(),
            ..options
        };
        let standby = operated.another_operator(&skewed, None).await?;
        // Longer than a lease, and than a job needs.
        operated.submit("meanwhile", "wait 5000 caption x").await?;
        operated.ended("meanwhile").await?;
        assert_eq!(lease(&operated).await?.lease_transitions, Some(0));
        assert!(standby.exit().is_none(), "{}", standby.log_tail());
        let logged: Timestamp = standby
            .log_tail()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()?;
        let apart = Timestamp::now().duration_since(logged).as_secs();
        assert!((apart + seconds).abs() < 30, "its log is {apart} s old");
        operated.operator.kill().await?;
        transitions(&operated, 1).await?;
        operated.submit("afterwards", "caption x").await?;
        operated.ended("afterwards").await?;
        operated.judge();
    }
    Ok(())
}

/// A time that was written before the clock was set back is ignored afterwards.
#[tokio::test]
async fn a_clock_that_jumps_delays_no_job() -> Result<()> {
    let clock = Clock::new(0)?;
    let options = Options {
        env: clock.env(),
        ..Options::default().short_lease()
    };
    let operated = Operated::start(options).await?;
    for (name, seconds) in [("back", -7200), ("forth", 7200)] {
        let mut job = Operated::job(name, "problem OutOfMemory\ncaption x");
        job.spec.retry.initial_delay_seconds = 2;
        operated.create(&job).await?;
        let waits = |status: &InferenceJobStatus| status.next_attempt_time.is_some();
        operated.status_where(name, "to wait", waits).await?;
        operated
            .submit(&format!("at-work-{name}"), "wait 3000 caption x")
            .await?;
        clock.set(seconds)?;
        for (name, attempts) in [(name.to_owned(), 2), (format!("at-work-{name}"), 1)] {
            let status = operated.ended(&name).await?;
            assert_eq!(
                (status.phase, status.attempts),
                (Phase::Succeeded, attempts)
            );
        }
    }
    assert!(operated.operator.exit().is_none(), "it leads as before");
    operated.judge();
    Ok(())
}
