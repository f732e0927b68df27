//! A user's first steps: a picture over HTTPS, and one by kubectl.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::Installed;
use fovea_tests::demo::first;
use fovea_tests::installed::RELEASE;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};

#[test]
fn a_picture_is_captioned_labelled_and_searched_through_the_ingress() -> Result<()> {
    Installed::shared(async |it| {
        let token = it.token("default", "first-day", "edit").await?;
        let visitor = it.visitor()?.with_token(token);

        let (picture, caption) = first::<String>("captions.json");
        let job = visitor.submitted_and_ended(&picture, &[]).await?;
        assert_eq!(job["result"]["caption"], caption, "{job}");

        let (picture, label) = first::<String>("labels.json");
        let fields = [("task", "image-classification")];
        let job = visitor.submitted_and_ended(&picture, &fields).await?;
        assert_eq!(job["result"]["predictions"][0]["label"], label, "{job}");

        let (picture, objects) = first::<Vec<Value>>("objects.json");
        let fields = [("task", "object-detection")];
        let job = visitor.submitted_and_ended(&picture, &fields).await?;
        let found = job["result"]["detections"].as_array();
        assert_eq!(found.map(Vec::len), Some(objects.len()), "{job}");
        Ok(())
    })
}

/// The store's authority is in a Secret that the chart's values name, and nobody else knows it.
#[test]
fn helm_test_passes_with_a_store_that_has_its_own_authority() -> Result<()> {
    Installed::shared(async |it| {
        let endpoint = it.minio.endpoint();
        assert!(endpoint.starts_with("https://"), "{endpoint}");
        it.helm
            .run(&["test", RELEASE, "-n", SYSTEM_NAMESPACE])
            .await?;
        Ok(())
    })
}

#[test]
fn the_gateway_leads_to_the_same_api() -> Result<()> {
    Installed::shared(async |it| {
        let token = it.token("default", "by-the-gateway", "edit").await?;
        let visitor = it.visitor_by_the_gateway()?.with_token(token);
        let (picture, caption) = first::<String>("captions.json");
        let job = visitor.submitted_and_ended(&picture, &[]).await?;
        assert_eq!(job["result"]["caption"], caption, "{job}");
        Ok(())
    })
}

#[test]
fn requests_without_a_token_are_refused() -> Result<()> {
    Installed::shared(async |it| {
        let visitor = it.visitor()?;
        let (picture, _) = first::<String>("captions.json");
        let (status, problem) = visitor.submit(&picture, &[]).await?;
        assert_eq!(status, 401, "{problem}");
        let stranger = visitor.with_token("made-up".to_owned());
        assert_eq!(stranger.submit(&picture, &[]).await?.0, 401);
        // Nor to the metrics.
        assert_eq!(visitor.get("/metrics").await?.0, 404);
        Ok(())
    })
}

#[test]
fn a_job_applied_by_kubectl_is_captioned() -> Result<()> {
    Installed::shared(async |it| {
        let (picture, caption) = first::<String>("captions.json");
        let data = base64::engine::general_purpose::STANDARD.encode(picture);
        let job = json!({
            "apiVersion": "fovea.dev/v1alpha1", "kind": "InferenceJob",
            "metadata": {"name": "by-kubectl"},
            "spec": {"task": "image-to-text", "input": {"inline": {"data": data}}},
        });
        let kubectl = &it.cluster.control_plane;
        kubectl.kubectl_apply("", &job.to_string()).await?;
        let phase = "--for=jsonpath={.status.phase}=Succeeded";
        let wait = format!("wait {phase} ij/by-kubectl --timeout=110s");
        kubectl.kubectl_line(&wait).await?;
        let get = "get ij by-kubectl -o jsonpath={.status.result.caption}";
        assert_eq!(kubectl.kubectl_line(get).await?, caption);
        Ok(())
    })
}

/// The namespace takes none but restricted pods; this holds what its label cannot.
#[test]
fn no_pod_holds_more_than_it_needs() -> Result<()> {
    Installed::shared(async |it| {
        let pods = it.pods.list(&ListParams::default()).await?;
        let of = |component: &str, key: &str| -> Result<Vec<&Pod>> {
            let labelled = |pod: &&Pod| {
                let labels = pod.metadata.labels.as_ref();
                labels
                    .and_then(|labels| labels.get(key))
                    .map(String::as_str)
                    == Some(component)
            };
            let found: Vec<_> = pods.iter().filter(labelled).collect();
            anyhow::ensure!(
                !found.is_empty(),
                "no pod of {component} in {SYSTEM_NAMESPACE}"
            );
            Ok(found)
        };
        for pod in of("default", "fovea.dev/pool")? {
            let spec = pod.spec.as_ref().context("a spec")?;
            assert_eq!(spec.automount_service_account_token, Some(false));
            let env = spec
                .containers
                .iter()
                .flat_map(|each| each.env.iter().flatten());
            let keys: Vec<_> = env.filter(|each| each.name.starts_with("AWS_")).collect();
            assert!(keys.is_empty(), "a runner has keys of the store: {keys:?}");
        }
        for component in ["operator", "api"] {
            for pod in of(component, "app.kubernetes.io/component")? {
                let spec = pod.spec.as_ref().context("a spec")?;
                for container in &spec.containers {
                    let context = container.security_context.as_ref().context("a context")?;
                    assert_eq!(context.read_only_root_filesystem, Some(true), "{component}");
                }
            }
        }
        Ok(())
    })
}
