//! Pools.

use super::*;
use fovea_tests::operated::{apply_pool, apply_spec};
use kube::api::{DeleteParams, Patch, PatchParams};

const POOL: &str = "RunnerPool";

/// Waits until kstatus sees a pool so, and the message is as wanted.
async fn pool_is(operated: &Operated, name: &str, status: &str, says: &str) -> Result<Judged> {
    let what = format!("{name} to be {status}: {says}");
    let found = eventually(&what, PATIENCE, async || {
        let judged = Judged::of::<RunnerPool>(operated, SYSTEM_NAMESPACE, name).await?;
        ensure!(
            judged.status == status && judged.message.contains(says),
            "{}: {}\n{}\n{}",
            judged.status,
            judged.message,
            judged.object["status"],
            operated.operator.log_tail()
        );
        Ok(judged)
    });
    Ok(found.await?)
}

/// Lets a pool's conditions be of long ago, as if its faults had stood for long.
async fn age(operated: &Operated, name: &str) -> Result<()> {
    let params = PatchParams::default();
    let aged = eventually("a status to be aged", PATIENCE, async || {
        let pool = operated.pools.get(name).await?;
        let mut status = pool.status.context("no status")?;
        for condition in &mut status.conditions {
            condition.last_transition_time.0 = jiff::Timestamp::UNIX_EPOCH;
        }
        let patch = json!({
            "metadata": {"resourceVersion": pool.metadata.resource_version},
            "status": {"conditions": status.conditions},
        });
        let patch = Patch::Merge(patch);
        operated.pools.patch_status(name, &params, &patch).await?;
        anyhow::Ok(())
    });
    Ok(aged.await?)
}

#[test]
fn kstatus_sees_every_state_of_a_pool_as_the_docs_say() -> Result<()> {
    Operated::shared(async |operated| {
        let volume = json!({"models": [{
            "name": "m", "task": "image-classification", "source": {"volume": {"path": "m"}},
        }]});
        let claim = json!({"cacheVolume": {"persistentVolumeClaim": {"claimName": "weights"}}});
        let apply = async |name: &str, more: &Value| {
            apply_spec(&operated.pools, name, volume.clone(), more).await
        };
        let mut rows = Vec::new();
        let mut row = |what: &str, judged: &Judged| {
            let (conditions, seen) = (judged.conditions(), &judged.status);
            rows.push(format!("| {what} | {conditions} | {seen} |"));
        };

        // The operator reconciles pools of its own namespace only.
        let elsewhere: Api<RunnerPool> = Api::namespaced(operated.client.clone(), JOBS);
        let pod_less = json!({"template": claim});
        apply_spec(&elsewhere, "k-new", volume.clone(), &pod_less).await?;
        let new = Judged::of::<RunnerPool>(operated, JOBS, "k-new").await?;
        row("new, without a status", &new);
        apply("k-starting", &pod_less).await?;
        let starting = pool_is(operated, "k-starting", "InProgress", "0 of 1").await?;
        row("its runners start", &starting);
        row(
            "its runners serve",
            &pool_is(operated, "default", "Current", "").await?,
        );
        let none = json!({"template": claim, "replicas": 0});
        apply("k-none", &none).await?;
        let none = pool_is(operated, "k-none", "Current", "").await?;
        row("`replicas: 0`, or scaled to zero", &none);

        let unreachable = &["http://127.0.0.1:9"];
        apply_pool(&operated.client, "k-gone", unreachable, &json!({})).await?;
        let fault = "http://127.0.0.1:9: ";
        let early = pool_is(operated, "k-gone", "InProgress", fault).await?;
        row("it has had a fault for less than 2 minutes", &early);
        let long = wait_as(operated, "helm", "2s", [POOL, SYSTEM_NAMESPACE, "k-gone"]).await?;
        ensure!(long.unwrap_err().contains("InProgress"));
        age(operated, "k-gone").await?;
        let late = pool_is(operated, "k-gone", "Failed", fault).await?;
        row("it has had a fault for longer", &late);
        let mut class = claim.clone();
        class["priorityClassName"] = json!("system-node-critical");
        apply("k-refused", &json!({"template": class})).await?;
        let refused = pool_is(operated, "k-refused", "Failed", "priorityClassName").await?;
        row("its spec is refused", &refused);

        for tool in ["flux", "helm"] {
            let wait =
                async |name| wait_as(operated, tool, "30s", [POOL, SYSTEM_NAMESPACE, name]).await;
            assert_eq!(wait("default").await?, Ok(()));
            for name in ["k-gone", "k-refused"] {
                let error = wait(name).await?.expect_err(name);
                ensure!(error.contains("Failed"), "{tool} {name}: {error}");
                ensure!(!error.contains("deadline exceeded"), "{tool}: {error}");
            }
        }

        // An edit that may help is waited for, although the fault stood for long.
        let url = operated.runner.url.as_str();
        apply_pool(&operated.client, "k-gone", &[url], &json!({})).await?;
        let object = [POOL, SYSTEM_NAMESPACE, "k-gone"];
        assert_eq!(wait_as(operated, "helm", "30s", object).await?, Ok(()));
        documented(&rows)?;
        for name in ["k-gone", "k-refused", "k-none", "k-starting"] {
            operated
                .pools
                .delete(name, &DeleteParams::default())
                .await?;
        }
        Ok(())
    })
}
