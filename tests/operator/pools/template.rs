//! What a pool's template asks for reaches its pods, and what they wait for its status.

use super::*;

/// A model from an image; the pods' labels, annotations, scheduler, pull secrets and claims.
fn everything() -> Result<Value> {
    let sample = include_str!("../../../manifests/samples/runnerpool-image.yaml");
    let sample: Value = fovea_crds::yaml::parse(sample)?;
    Ok(sample["spec"].clone())
}

#[test]
fn pods_of_the_standard_restricted_have_all_that_their_template_says() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        enforce_restricted(client).await?;
        pool(client, "asking", &everything()?).await?;
        let pod = pods(operated, "asking", 1).await?.remove(0);
        assert_eq!(pod.labels()["kueue.x-k8s.io/queue-name"], "inference");
        assert_eq!(pod.labels()["app.kubernetes.io/name"], "fovea-runner");
        assert_eq!(pod.annotations()["example.com/cost-center"], "research");
        let spec = serde_json::to_value(pod.spec.context("a spec")?)?;
        assert_eq!(spec["schedulerName"], "default-scheduler");
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
        assert_eq!(
            spec["resourceClaims"],
            json!([{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}])
        );
        let container = &spec["containers"][0];
        assert_eq!(container["resources"]["claims"], json!([{"name": "gpu"}]));
        let volumes = spec["volumes"].as_array().context("volumes")?;
        let image = volumes.iter().find(|volume| volume["name"] == "image-0");
        let reference = "registry.example.com/models/blip-base:v1";
        assert_eq!(
            image.context("the image volume")?["image"],
            json!({"reference": reference, "pullPolicy": "IfNotPresent"})
        );

        // The claims' controller is real, and there is no template of this name.
        logged(operated, &["ResourceClaimUnavailable", "asking", "one-gpu"]).await
    })
}

#[test]
fn a_pod_whose_scheduler_does_not_exist_is_a_fault_of_its_pool() -> Result<()> {
    Operated::shared(async |operated| {
        let template = json!({"template": {"schedulerName": "nobody"}});
        pool(&operated.client, "overlooked", &template).await?;
        logged(operated, &["NotScheduled", "overlooked", "nobody"]).await
    })
}
