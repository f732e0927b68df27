//! The number of runners follows the jobs: from zero to three and back.

use anyhow::{Result, ensure};
use fovea_crds::{RunnerPoolStatus, Task};
use fovea_harness::eventually;
use fovea_tests::Pods;
use fovea_tests::pods::{PATIENCE, condition};
use serde_json::json;
use std::cell::Cell;
use std::time::Duration;

/// Upper bound on waiting jobs.
const AT_A_TIME: usize = 40;

/// Bound on the scale-down of an idle pool: its idleSeconds, and the runners' end.
const GONE: Duration = Duration::from_mins(1);

#[test]
fn a_pool_grows_from_nothing_with_its_work_and_shrinks_to_nothing_and_loses_no_job() -> Result<()> {
    Pods::shared(async |it| {
        let wish = json!({"min": 0, "max": 3, "idleSeconds": 5, "targetQueueSeconds": 1});
        it.apply("elastic", &json!({"autoscaling": wish})).await?;
        let resting = |status: &RunnerPoolStatus| {
            condition(status, "Ready")[1] == "ScaledToZero" && status.replicas == 0
        };
        it.pool_where("elastic", "to rest", PATIENCE, resting)
            .await?;

        let submitted = Cell::new(0);
        let most = Cell::new(0);
        eventually("three runners to serve", 2 * PATIENCE, async || {
            let status = it.pools.get("elastic").await?.status.unwrap_or_default();
            let under_way = status.queued + status.running;
            if (under_way as usize) < AT_A_TIME {
                for _ in 0..AT_A_TIME / 2 {
                    let number = submitted.replace(submitted.get() + 1);
                    let name = format!("elastic-{number}");
                    it.submit(&name, "elastic", Task::ImageToText).await?;
                }
            }
            most.set(most.get().max(status.replicas));
            ensure!(
                status.ready_replicas == 3,
                "{status:#?}\n{}",
                it.operator.log_tail()
            );
            Ok(())
        })
        .await?;
        assert_eq!(most.get(), 3, "never more than max");
        for number in 0..submitted.get() {
            it.succeeded(&format!("elastic-{number}")).await?;
        }
        it.pool_where("elastic", "to rest again", GONE, resting)
            .await?;
        let faults = it.history.faults(&[]);
        ensure!(faults.is_empty(), "{faults:#?}");
        Ok(())
    })
}
