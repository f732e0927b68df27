//! etcd is restored from an older snapshot, and runners that remember more than the cluster does.

use anyhow::{Context as _, Result, anyhow, ensure};
use fovea_crds::{InferenceJob, Phase, RunnerPool};
use fovea_harness::{eventually, stack};
use fovea_protocol::LeaderRequest;
use fovea_tests::operated::{PATIENCE, apply_pool};
use fovea_tests::{History, Operated, Options, ScriptedRunner};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

async fn lease(operated: &Operated) -> Result<LeaseSpec> {
    let leases: Api<Lease> = Api::namespaced(operated.client.clone(), stack::SYSTEM_NAMESPACE);
    let lease = leases.get("fovea-operator").await?;
    lease.spec.context("a spec")
}

/// Waits until the runner follows the present leader, and returns the leader's epoch.
async fn announced(operated: &Operated) -> Result<u64> {
    let found = eventually("the leader to be announced", PATIENCE, async || {
        let epoch = lease(operated)
            .await?
            .lease_transitions
            .context("an epoch")?;
        let epoch = u64::try_from(epoch)?;
        let known = operated.runner.leader().map(|leader| leader.epoch);
        ensure!(
            known == Some(epoch),
            "{known:?}, not {epoch}\n{}",
            operated.operator.log_tail()
        );
        Ok::<_, anyhow::Error>(epoch)
    });
    Ok(found.await?)
}

/// Creates a short job every 200 ms, also while the API server is down.
fn load(jobs: Api<InferenceJob>, prefix: &str) -> AbortOnDropHandle<()> {
    let prefix = prefix.to_owned();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(200));
        for number in 0.. {
            every.tick().await;
            let job = Operated::job(&format!("{prefix}-{number}"), "wait 300 caption x");
            let _ = jobs.create(&PostParams::default(), &job).await;
        }
    }))
}

async fn every_job_has_ended(operated: &Operated) -> Result<()> {
    let ended = eventually("every job to end", PATIENCE, async || {
        let jobs = operated.jobs.list(&ListParams::default()).await?;
        let open = jobs.items.iter().filter(|job| !job.is_finished());
        let open: Vec<_> = open.filter_map(|job| job.metadata.name.clone()).collect();
        ensure!(
            open.is_empty(),
            "{open:?}\n{}",
            operated.operator.log_tail()
        );
        Ok(())
    });
    Ok(ended.await?)
}

/// The operator loses its lease and ends, and the test starts it again, as the kubelet does. Nothing
/// else is restarted: the runner remembers what it knew.
#[tokio::test]
async fn after_a_restore_of_etcd_under_load_every_job_ends_however_often_the_leader_changed()
-> Result<()> {
    let mut operated = Operated::start(Options::default().short_lease()).await?;
    for changes in [0, 1, 3] {
        let loading = load(operated.jobs.clone(), &format!("load-{changes}"));
        let at_work = format!("at-work-{changes}");
        let job = operated.submit(&at_work, "wait 2000 caption x").await?;
        operated
            .begun(&job.metadata.uid.context("a uid")?, 1)
            .await?;
        let snapshot = operated.control_plane.snapshot().await?;
        let then = announced(&operated).await?;
        for change in 0..changes {
            operated.operator.restart().await?;
            eventually("another leader", PATIENCE, async || {
                let now = announced(&operated).await?;
                ensure!(now > then + change, "{now}");
                Ok(())
            })
            .await?;
        }
        operated.ended(&at_work).await?;
        let remembered = announced(&operated).await?;
        operated.control_plane.restore(&snapshot).await?;
        let restored = Timestamp::now();
        let history = History::start(operated.client.clone());
        let exit = operated.operator.wait(PATIENCE).await?;
        assert!(!exit.success(), "{}", operated.operator.log_tail());
        operated.operator.restart().await?;

        operated
            .submit(&format!("after-{changes}"), "caption x")
            .await?;
        for name in [at_work, format!("after-{changes}")] {
            let status = operated.ended(&name).await?;
            assert_eq!((status.phase, status.attempts), (Phase::Succeeded, 1));
        }
        drop(loading);
        every_job_has_ended(&operated).await?;
        assert!(announced(&operated).await? > remembered);
        operated.pool_is_ready("default").await?;
        let mut attempts = operated.runner.attempts();
        attempts.retain(|attempt| attempt.began > restored);
        let faults = history.faults(&attempts);
        assert!(faults.is_empty(), "{faults:#?}");
    }
    Ok(())
}

/// A renewal that raises the epoch is conditional as any other.
#[tokio::test]
async fn a_leader_that_has_lost_its_lease_cannot_raise_its_epoch_above_the_true_leader_s()
-> Result<()> {
    let operated = Operated::start(Options::default()).await?;
    let before = operated.runner.leader().context("a leader")?;
    let heir = LeaderRequest {
        epoch: before.epoch + 1,
        holder: Some("the-heir".to_owned()),
        ..before
    };
    let leases: Api<Lease> = Api::namespaced(operated.client.clone(), stack::SYSTEM_NAMESPACE);
    let taken = eventually("the lease to be taken", PATIENCE, async || {
        let mut lease = leases.get("fovea-operator").await?;
        let spec = lease.spec.as_mut().context("a spec")?;
        spec.holder_identity.clone_from(&heir.holder);
        spec.lease_transitions = Some(i32::try_from(heir.epoch)?);
        let params = PostParams::default();
        anyhow::Ok(leases.replace("fovea-operator", &params, &lease).await?)
    });
    let taken = taken.await?;
    operated.runner.remember(heir.clone());
    let exit = operated.operator.wait(PATIENCE).await?;
    assert!(!exit.success(), "a lost lease is an error");
    assert_eq!(lease(&operated).await?, taken.spec.context("a spec")?);
    assert_eq!(operated.runner.leader(), Some(heir));
    Ok(())
}

async fn refuses_its_leader(pools: &Api<RunnerPool>, name: &str, word: &str) -> Result<()> {
    let named = eventually("the pool to say why", PATIENCE, async || {
        let status = pools.get(name).await?.status.unwrap_or_default();
        let mut conditions = status.conditions.iter();
        let degraded = conditions
            .find(|each| each.type_ == "Degraded")
            .ok_or_else(|| anyhow!("no conditions"))?;
        ensure!(
            degraded.reason == "StaleEpoch" && degraded.message.contains(word),
            "{degraded:?}"
        );
        Ok(())
    });
    Ok(named.await?)
}

#[test]
fn a_runner_that_claims_an_epoch_out_of_reach_is_named_in_its_pool_and_disturbs_no_other()
-> Result<()> {
    Operated::shared(async |operated| {
        let before = operated.runner.leader().context("a leader")?;
        let claim = |epoch| LeaderRequest {
            epoch,
            holder: Some("another".to_owned()),
            ..before.clone()
        };
        let liar = ScriptedRunner::start(8).await?;
        liar.remember(claim(u64::MAX));
        apply_pool(&operated.client, "liar", &[&liar.url], &json!({})).await?;
        let word = "cannot be raised that far";
        refuses_its_leader(&operated.pools, "liar", word).await?;
        let transitions = async || anyhow::Ok(lease(operated).await?.lease_transitions);
        assert_eq!(transitions().await?, Some(i32::try_from(before.epoch)?));

        // Within reach it is followed, and the other runner's work goes on.
        let job = operated
            .submit("undisturbed", "wait 6000 caption x")
            .await?;
        let uid = job.metadata.uid.context("a uid")?;
        operated.begun(&uid, 1).await?;
        liar.remember(claim(before.epoch + 5));
        operated.pool_is_ready("liar").await?;
        let raised = before.epoch + 6;
        assert_eq!(liar.leader().map(|leader| leader.epoch), Some(raised));
        assert_eq!(transitions().await?, Some(i32::try_from(raised)?));
        let mut job = Operated::job("by-the-liar", "caption x");
        let pool = json!({"name": "liar", "namespace": stack::SYSTEM_NAMESPACE});
        job.spec.pool_ref = serde_json::from_value(pool)?;
        operated.create(&job).await?;
        for name in ["undisturbed", "by-the-liar"] {
            assert_eq!(operated.ended(name).await?.phase, Phase::Succeeded);
        }
        assert_eq!(operated.runner.attempts_of(&uid).len(), 1);
        assert_eq!(operated.runner.leader(), Some(before.clone()));

        // A runner that goes on to outbid this leader is refused its next raise.
        liar.remember(claim(raised + 5));
        refuses_its_leader(&operated.pools, "liar", "at most once in").await?;
        let checks = liar.checks();
        eventually("more checks", PATIENCE, async || {
            ensure!(liar.checks() >= checks + 4, "{}", liar.checks());
            Ok(())
        })
        .await?;
        assert_eq!(transitions().await?, Some(i32::try_from(raised)?));
        operated
            .pools
            .delete("liar", &DeleteParams::default())
            .await?;
        Ok(())
    })
}
