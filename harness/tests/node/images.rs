//! Fovea's images start, as whom they say.

use anyhow::{Context, Result, ensure};
use fovea_harness::images::{Build, Image};
use fovea_harness::{eventually, with_temp_ns};
use fovea_setup::cache::Cache;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;

use crate::shared::shared;
use crate::support::{LONG, create, pod, runs};

#[tokio::test]
async fn every_image_starts_without_rights_and_the_runners_finds_its_libtorch() -> Result<()> {
    if !runs("every_image_starts_without_rights_and_the_runners_finds_its_libtorch") {
        return Ok(());
    }
    let cluster = shared().await?;
    let build = Build::of_tests()?;
    let plane = &cluster.control_plane;
    with_temp_ns(&plane.config().await?, async |client, namespace| {
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        for image in Image::ALL {
            let archive = build.archive(&Cache::from_env()?, image)?;
            cluster.nodes[1].import_image(&archive).await?;
            let name = image.name();
            let mut version = pod(name, &image.reference(), None);
            version["spec"]["nodeName"] = json!("node2");
            version["spec"]["restartPolicy"] = json!("Never");
            version["spec"]["containers"][0]["args"] = json!(["--version"]);
            version["spec"]["containers"][0]["securityContext"] = json!({
                "runAsNonRoot": true,
                "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            });
            create(&pods, version).await?;
            eventually(&format!("the end of {name} --version"), LONG, || async {
                let status = pods.get(name).await?.status.context("no status")?;
                ensure!(status.phase.as_deref() == Some("Succeeded"), "{status:?}");
                Ok(())
            })
            .await?;
            let logs = format!("logs -n {namespace} {name}");
            let logs = plane.kubectl_line(&logs).await?;
            ensure!(logs.starts_with(name), "{logs}");
        }
        Ok(())
    })
    .await?
}
