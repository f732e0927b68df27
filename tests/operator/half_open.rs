//! Half-open connections: the other end is unreachable, and no packet reports it.

use anyhow::{Result, ensure};
use fovea_crds::Phase;
use fovea_harness::eventually;
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::operated::{PATIENCE, apply_pool};
use fovea_tests::{Cable, Operated, Options, ScriptedRunner};
use serde_json::json;
use std::time::Duration;

/// The pool `cabled`, whose only runner is at the end of a cable.
struct Cabled {
    operated: Operated,
    cable: Cable,
    by_cable: String,
    far: ScriptedRunner,
}

impl Cabled {
    async fn start() -> Result<Self> {
        let operated = Operated::start(Options::default()).await?;
        let far = ScriptedRunner::start(8).await?;
        let cable = Cable::to(far.url.trim_start_matches("http://")).await?;
        let by_cable = format!("http://{}", cable.address);
        apply_pool(&operated.client, "cabled", &[&by_cable], &json!({})).await?;
        operated.pool_is_ready("cabled").await?;
        Ok(Self {
            operated,
            cable,
            by_cable,
            far,
        })
    }

    async fn submit(&self, name: &str, script: &str) -> Result<String> {
        let mut job = Operated::job(name, script);
        let pool = json!({"name": "cabled", "namespace": SYSTEM_NAMESPACE});
        job.spec.pool_ref = serde_json::from_value(pool)?;
        Ok(self.operated.create(&job).await?.metadata.uid.unwrap())
    }

    /// Waits until the runner at the cable's end has begun a job.
    async fn begun_far(&self, uid: &str) -> Result<()> {
        let begun = eventually("an attempt", PATIENCE, async || {
            ensure!(!self.far.attempts_of(uid).is_empty(), "none yet");
            Ok(())
        });
        Ok(begun.await?)
    }
}

#[tokio::test]
async fn a_job_whose_runner_is_unreachable_runs_on_another() -> Result<()> {
    let it = Cabled::start().await?;
    let uid = it
        .submit("cut-off", "wait 600000 caption x\ncaption y")
        .await?;
    it.begun_far(&uid).await?;
    let near = ScriptedRunner::start(8).await?;
    let both = [&*it.by_cable, &near.url];
    apply_pool(&it.operated.client, "cabled", &both, &json!({})).await?;
    it.cable.pull();
    let status = it.operated.ended("cut-off").await?;
    let end = (status.phase, status.attempts, status.interruptions);
    assert_eq!(end, (Phase::Succeeded, 1, 1), "{status:?}");
    assert_eq!(near.attempts_of(&uid).len(), 1);
    it.operated.judge();
    Ok(())
}

/// The connection worked for the last answer, and is kept alive for the next request.
#[tokio::test]
async fn a_job_sent_over_a_dead_connection_runs_when_the_runner_is_back() -> Result<()> {
    let it = Cabled::start().await?;
    // Just after a health check the connection is idle, so that the job is sent over it.
    let before = it.far.checks();
    eventually("a health check", PATIENCE, || async {
        ensure!(it.far.checks() > before, "none");
        Ok(())
    })
    .await?;
    it.cable.pull();
    let uid = it.submit("sent", "caption x").await?;
    let interrupted = it
        .operated
        .status_where("sent", "to be interrupted", |status| {
            status.interruptions == 1
        });
    assert_eq!(interrupted.await?.phase, Phase::Pending);
    assert!(it.far.attempts().is_empty());
    it.cable.plug_in();
    let status = it.operated.ended("sent").await?;
    assert_eq!((status.phase, status.attempts), (Phase::Succeeded, 1));
    assert_eq!(it.far.attempts_of(&uid).len(), 1);
    it.operated.judge();
    Ok(())
}

/// The attempt under way continues, since its runner is reachable, but the process is no longer the
/// leader.
#[tokio::test]
async fn a_leader_that_cannot_reach_the_api_server_exits_and_another_takes_over() -> Result<()> {
    let options = Options::default().short_lease();
    let operated = Operated::start(options.clone()).await?;
    let text = std::fs::read_to_string(operated.control_plane.kubeconfig())?;
    let after = text.split_once("https://").unwrap().1;
    let server = after.split_once('"').unwrap().0;
    let cable = Cable::to(server).await?;
    let scratch = tempfile::tempdir()?;
    let by_cable = scratch.path().join("kubeconfig");
    std::fs::write(&by_cable, text.replace(server, &cable.address.to_string()))?;
    let leader = operated.another_operator(&options, Some(by_cable)).await?;
    assert!(operated.operator.terminate().await?.success());
    let uid = operated.submit("at-work", "wait 8000 caption x").await?;
    let uid = uid.metadata.uid.unwrap();
    operated.begun(&uid, 1).await?;
    let _standby = operated.another_operator(&options, None).await?;

    cable.pull();
    assert!(!leader.wait(Duration::from_secs(30)).await?.success());
    let attempts = operated.begun(&uid, 2).await?;
    assert!(attempts[0].epoch < attempts[1].epoch, "{attempts:?}");
    let status = operated.ended("at-work").await?;
    assert_eq!((status.phase, status.attempts), (Phase::Succeeded, 1));
    operated.judge();
    Ok(())
}
