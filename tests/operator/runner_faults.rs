//! Runners that die while they run jobs.

use anyhow::{Result, ensure};
use fovea_crds::Phase;
use fovea_harness::eventually;
use fovea_tests::operated::{PATIENCE, apply_pool};
use fovea_tests::{Operated, Options, ScriptedRunner};
use serde_json::json;

#[tokio::test]
async fn jobs_whose_runner_dies_run_again_exclusively() -> Result<()> {
    let operated = Operated::start(Options::default()).await?;
    let mut uids = Vec::new();
    for number in 0..5 {
        let script = "wait 60000 caption x\ncaption y";
        let job = operated.submit(&format!("beside-{number}"), script).await?;
        uids.push(job.metadata.uid.unwrap());
    }
    for uid in &uids {
        operated.begun(uid, 1).await?;
    }
    operated.submit("deadly", "crash\ncaption y").await?;
    for name in (0..5)
        .map(|number| format!("beside-{number}"))
        .chain(["deadly".to_owned()])
    {
        let status = operated.ended(&name).await?;
        let end = (
            status.phase,
            status.attempts,
            status.interruptions,
            status.exclusive,
        );
        assert_eq!(end, (Phase::Succeeded, 1, 1, true), "{name}: {status:?}");
    }
    operated.judge();
    Ok(())
}

#[tokio::test]
async fn the_runners_of_a_pool_share_its_jobs_by_their_slots() -> Result<()> {
    let operated = Operated::start(Options::default()).await?;
    let (small, large) = (
        ScriptedRunner::start(1).await?,
        ScriptedRunner::start(3).await?,
    );
    apply_pool(
        &operated.client,
        "two",
        &[&small.url, &large.url],
        &json!({}),
    )
    .await?;
    operated.pool_is_ready("two").await?;
    for number in 0..16 {
        let mut job = Operated::job(&format!("shared-{number}"), "wait 300 caption x");
        job.spec.pool_ref = serde_json::from_value(json!({
            "name": "two", "namespace": fovea_harness::stack::SYSTEM_NAMESPACE,
        }))?;
        operated.create(&job).await?;
    }
    for number in 0..16 {
        operated.ended(&format!("shared-{number}")).await?;
    }
    let (few, many) = (small.attempts().len(), large.attempts().len());
    assert_eq!(few + many, 16);
    assert!(few >= 1 && many > few, "{few} and {many}");
    assert!(
        operated.runner.attempts().is_empty(),
        "the default pool has none of them"
    );
    Ok(())
}

#[tokio::test]
async fn a_runner_that_comes_back_learns_the_leader_before_it_gets_jobs() -> Result<()> {
    let operated = Operated::start(Options::default()).await?;
    operated.runner.crash();
    let announced = eventually(
        "the announcement to the new instance",
        PATIENCE,
        async || {
            ensure!(operated.runner.leader().is_some(), "not yet");
            Ok(())
        },
    );
    announced.await?;
    operated.submit("after", "caption x").await?;
    assert_eq!(operated.ended("after").await?.phase, Phase::Succeeded);
    Ok(())
}
