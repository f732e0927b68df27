//! Uploads continue while pods are killed and the store restarts; every accepted one ends.

use super::watched::Watched;
use anyhow::{Result, ensure};
use fovea_harness::eventually;
use fovea_tests::Visitor;
use fovea_tests::demo::first;
use fovea_tests::installed::PATIENCE;
use kube::api::DeleteParams;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Uploads that must have been taken between one fault and the next.
const BETWEEN: usize = 15;

pub(super) async fn killed_pods_and_a_restarted_store(it: &mut Watched) -> Result<()> {
    let history = it.it.history();
    let token = it.it.token("default", "load", "edit").await?;
    let visitor = it.it.visitor()?.with_token(token);
    let (over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let uploading = upload(&visitor, &over, &count);
    let breaking = async {
        let more = async || {
            let goal = count.load(Ordering::Relaxed) + BETWEEN;
            eventually("uploads to be taken", PATIENCE, async || {
                let now = count.load(Ordering::Relaxed);
                ensure!(now >= goal, "{now} of {goal}");
                Ok(())
            })
            .await
        };
        more().await?;
        // One at a time, with SIGKILL.
        let at_once = DeleteParams::default().grace_period(0);
        for component in ["operator", "api"] {
            let label = format!("app.kubernetes.io/component={component}");
            for (pod, _) in it.pods(&label).await? {
                it.it.pods.delete(&pod, &at_once).await?;
                more().await?;
            }
        }
        it.it.minio.process().restart().await?;
        more().await?;
        over.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let (ids, broken) = tokio::join!(uploading, breaking);
    broken?;
    for id in ids? {
        let job = visitor.job_ended(&id).await?;
        ensure!(job["phase"] == "Succeeded", "{job}");
    }
    let faults = history.faults(&[]);
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}

/// Uploads until `over`; returns the ids of the accepted jobs. Retries refused uploads, as a client does.
async fn upload(visitor: &Visitor, over: &AtomicBool, taken: &AtomicUsize) -> Result<Vec<Value>> {
    let (picture, _) = first::<String>("captions.json");
    let mut ids = Vec::new();
    while !over.load(Ordering::Relaxed) {
        // Envoy may have no connection to a pod that has just been killed.
        let Ok((status, job)) = visitor.submit(&picture, &[]).await else {
            continue;
        };
        ensure!(status == 202 || status >= 500, "{status}: {job}");
        if status == 202 {
            ids.push(job["id"].clone());
            taken.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(ids)
}
