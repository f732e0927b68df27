//! Which pools and models a tenant sees.

use super::harness::{Service, cluster, grant_pools, until};
use fovea_crds::RunnerPool;
use fovea_harness::TempNamespace;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

fn pool(name: &str, allowed: &Value) -> anyhow::Result<RunnerPool> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool", "metadata": {"name": name},
        "spec": {
            "models": [{"name": "blip", "task": "image-to-text"}],
            "external": {"endpoints": ["http://127.0.0.1:9"]},
            "allowedNamespaces": allowed,
        },
    }))?)
}

#[tokio::test]
async fn a_tenant_sees_the_pools_that_accept_its_jobs_with_their_models() -> anyhow::Result<()> {
    let home = TempNamespace::create(&cluster().await?.config().await?).await?;
    grant_pools(home.name()).await?;
    let api = Service::start(&["--pool-namespaces", home.name()]).await?;
    assert_eq!(api.get("/v1/pools").await?.body, json!({"pools": []}));
    assert_eq!(api.get("/v1/models").await?.body, json!({"models": []}));

    let pools: Api<RunnerPool> = Api::namespaced(api.cluster.clone(), home.name());
    let own = json!({"kubernetes.io/metadata.name": api.namespace.name()});
    for (name, allowed) in [
        ("all", json!({"from": "All"})),
        ("same", json!({"from": "Same"})),
        (
            "selected",
            json!({"from": "Selector", "selector": {"matchLabels": own}}),
        ),
        (
            "others",
            json!({"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}),
        ),
    ] {
        let made = pool(name, &allowed)?;
        pools.create(&PostParams::default(), &made).await?;
    }
    let status = Patch::Merge(json!({"status": {
        "replicas": 2, "readyReplicas": 1, "queued": 7, "running": 3,
        "models": [{"name": "blip", "revision": "sha256:0", "ready": true}],
    }}));
    pools
        .patch_status("all", &PatchParams::default(), &status)
        .await?;

    let model = json!({"name": "blip", "task": "image-to-text", "default": true, "ready": true, "revision": "sha256:0"});
    let idle = json!({"name": "blip", "task": "image-to-text", "default": true, "ready": false, "revision": null});
    let expected = json!({"pools": [
        {
            "name": "all", "namespace": home.name(), "ready": true, "replicas": 2, "readyReplicas": 1,
            "queued": 7, "running": 3, "models": [model],
        },
        {
            "name": "selected", "namespace": home.name(), "ready": false, "replicas": 0, "readyReplicas": 0,
            "queued": 0, "running": 0, "models": [idle],
        },
    ]});
    until("the pools to be shown", || async {
        let shown = api.get("/v1/pools").await?;
        anyhow::ensure!(shown.body == expected, "{shown:?}");
        Ok(())
    })
    .await?;
    let models = api.get("/v1/models").await?.body;
    assert_eq!(models["models"][0]["pool"], format!("{}/all", home.name()));
    assert_eq!(models["models"][0]["revision"], "sha256:0");
    assert_eq!(models["models"].as_array().map(Vec::len), Some(2));
    Ok(())
}
