//! Runners that each take a GPU of the node's two.

use anyhow::{Result, ensure};
use fovea_crds::{JobResult, RunnerPoolStatus, Task};
use fovea_tests::Pods;
use fovea_tests::pods::{PATIENCE, condition, picture};
use serde_json::{Value, json};
use std::time::Duration;

/// Bound on the time from a fault to its report in the status.
const REPORTED: Duration = Duration::from_secs(30);

#[test]
fn every_model_is_resident_in_each_of_two_pods_and_a_third_says_what_it_waits_for() -> Result<()> {
    Pods::shared(async |it| {
        let gpu = json!({
            "requests": {"cpu": "100m", "memory": "300Mi"}, "limits": {"nvidia.com/gpu": "1"},
        });
        let spec = json!({"replicas": 2, "template": {"resources": gpu}});
        it.apply("gpus", &spec).await?;
        let status = it.ready("gpus", 2).await?;
        assert!(status.models.iter().all(|model| model.ready), "{status:#?}");
        assert_eq!(condition(&status, "Ready")[0], "True", "{status:#?}");

        for task in [
            Task::ImageToText,
            Task::ImageClassification,
            Task::ObjectDetection,
        ] {
            it.submit(&format!("gpus-{task:?}").to_lowercase(), "gpus", task)
                .await?;
        }
        let status = it.succeeded("gpus-imagetotext").await?;
        assert_eq!(status.result, Some(JobResult::Caption(picture().1)));
        it.succeeded("gpus-imageclassification").await?;
        it.succeeded("gpus-objectdetection").await?;

        it.scale("gpus", 3).await?;
        let says = |status: &RunnerPoolStatus| {
            condition(status, "Degraded")[2].contains("Insufficient nvidia.com/gpu")
        };
        let status = it.pool_where("gpus", "to say why", REPORTED, says).await?;
        assert_eq!(
            condition(&status, "Degraded")[..2],
            ["True", "Unschedulable"]
        );
        assert_eq!((status.replicas, status.ready_replicas), (3, 2));
        it.scale("gpus", 2).await?;
        let mended = |status: &RunnerPoolStatus| {
            condition(status, "Degraded")[0] == "False" && status.ready_replicas == 2
        };
        it.pool_where("gpus", "to be well", REPORTED, mended)
            .await?;
        a_rollout_without_a_free_gpu(it, &spec).await?;
        it.scale_to_nothing("gpus").await
    })
}

/// There is no GPU for one more runner, so that they are replaced one after another; and jobs go on.
async fn a_rollout_without_a_free_gpu(it: &Pods, spec: &Value) -> Result<()> {
    for number in 0..40 {
        let name = format!("gpus-rolling-{number}");
        it.submit(&name, "gpus", Task::ImageToText).await?;
    }
    let mut spec = spec.clone();
    spec["template"]["env"] = json!([{"name": "SOMETHING", "value": "new"}]);
    let generation = it.apply("gpus", &spec).await?.metadata.generation;
    let swaps = |status: &RunnerPoolStatus| {
        condition(status, "Progressing")[..2] == ["True", "ReplacingOneByOne"]
    };
    it.pool_where("gpus", "to replace one by one", REPORTED, swaps)
        .await?;
    it.pool_where("gpus", "to have rolled", PATIENCE, |status| {
        status.observed_generation == generation
            && condition(status, "Progressing")[0] == "False"
            && status.ready_replicas == 2
    })
    .await?;
    for number in 0..40 {
        it.succeeded(&format!("gpus-rolling-{number}")).await?;
    }
    let faults = it.history.faults(&[]);
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}
