//! The preset for trials: its own MinIO, no tokens, a model of the hub.

use anyhow::{Context as _, Result, ensure};
use fovea_harness::images;
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::Installed;
use fovea_tests::demo::first;
use fovea_tests::hub::REPO;
use fovea_tests::installed::{RELEASE, chart};
use serde_json::json;

/// Installs after an earlier release, which left its definitions.
pub(crate) async fn takes_the_place_of(it: &Installed) -> Result<()> {
    let chart = chart();
    let preset = format!("{chart}/presets/trial.yaml");
    let gateway = format!("{}/32", it.cluster.gateway());
    let (minio, tag) = images::MINIO
        .rsplit_once(':')
        .context("a name with a tag")?;
    // Replaces the internet in this cluster.
    let mut values = json!({
        "image": {"registry": "localhost", "tag": images::TAG, "pullPolicy": "Never"},
        "minio": {"image": {"repository": minio, "tag": tag, "pullPolicy": "Never"}},
        "runner": {"hub": {"endpoint": it.hub.url, "cidrs": [gateway]}},
        "networkPolicy": it.network_policy(),
        "pools": {"default": {
            "models": [{
                "name": "captioner", "task": "image-to-text", "default": true,
                "source": {"huggingFace": {"repo": REPO, "revision": "main"}},
            }],
            "template": {"resources": {"requests": {"cpu": "100m", "memory": "300Mi"}}},
        }},
    });
    let file = it.helm.values("trial", &values)?;
    it.helm_install(&chart, &[&preset, &file]).await?;
    it.pool_is_ready_now().await?;
    let test = ["test", RELEASE, "-n", SYSTEM_NAMESPACE];
    it.helm.run(&test).await?;

    // As in the chart's notes: by a forwarded port, without a token.
    let (picture, caption) = first::<String>("captions.json");
    let service = "services/http:fovea-api:80/proxy/v1/jobs";
    let path = format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/{service}");
    let request = axum::http::Request::post(path)
        .header("content-type", "image/jpeg")
        .header("prefer", "wait=60")
        .body(picture)?;
    let answer = it.client.request_text(request).await?;
    ensure!(answer.contains(&caption), "{answer}");

    // What only the operator refuses: helm says so at once.
    let template = json!({"priorityClassName": "system-node-critical"});
    let mut refused = values["pools"]["default"].clone();
    refused["template"] = template;
    refused["enabled"] = json!(true);
    values["pools"]["refused"] = refused;
    let file = it.helm.values("refused", &values)?;
    let upgrade = ["upgrade", RELEASE, &chart, "-n", SYSTEM_NAMESPACE];
    let files = ["-f", &preset, "-f", &file, "--wait", "--timeout=4m"];
    let failed = it.helm.run(&[&upgrade[..], &files].concat()).await.err();
    let failed = failed.context("a pool that is stalled")?.to_string();
    for words in ["RunnerPool refused is stalled: ", "system-node-critical"] {
        ensure!(failed.contains(words), "{words} is not in {failed}");
    }
    it.pool_is_ready_now().await
}
