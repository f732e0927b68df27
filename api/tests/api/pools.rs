//! Which pools and models a tenant sees.

use super::auth;
use super::harness::{Service, cluster, grant_pools, send, until};
use super::pictures::jpeg;
use fovea_crds::RunnerPool;
use fovea_harness::TempNamespace;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
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
            "name": "all", "namespace": home.name(), "ready": true, "queued": 0, "running": 0,
            "total": null, "models": [model],
        },
        {
            "name": "selected", "namespace": home.name(), "ready": false, "queued": 0, "running": 0,
            "total": null, "models": [idle],
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

/// Lets an account of `namespace` read the pools of `home`.
async fn may_get_pools(
    client: &Client,
    home: &str,
    (namespace, account): (&str, &str),
) -> anyhow::Result<()> {
    let create = PostParams::default();
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "reads-pools"},
        "rules": [{"apiGroups": ["fovea.dev"], "resources": ["runnerpools"], "verbs": ["get"]}],
    }))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "reads-pools"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads-pools"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }))?;
    let roles = Api::namespaced(client.clone(), home);
    roles.create(&create, &role).await?;
    let bindings = Api::namespaced(client.clone(), home);
    bindings.create(&create, &binding).await?;
    Ok(())
}

#[tokio::test]
async fn only_who_may_read_a_pool_sees_how_much_other_tenants_have_in_it() -> anyhow::Result<()> {
    let home = TempNamespace::create(&cluster().await?.config().await?).await?;
    grant_pools(home.name()).await?;
    let api = auth::start(&["--pool-namespaces", home.name()]).await?;
    let pools: Api<RunnerPool> = Api::namespaced(api.cluster.clone(), home.name());
    let made = pool("shared", &json!({"from": "All"}))?;
    pools.create(&PostParams::default(), &made).await?;
    let status = Patch::Merge(json!({"status": {
        "replicas": 2, "readyReplicas": 1, "queued": 70, "running": 30,
    }}));
    let params = PatchParams::default();
    pools.patch_status("shared", &params, &status).await?;

    let namespace = api.namespace.name();
    let verbs = ["create", "list"];
    let tenant = auth::account(&api.cluster, namespace, "tenant", &verbs).await?;
    let admin = auth::account(&api.cluster, namespace, "admin", &verbs).await?;
    may_get_pools(&api.cluster, home.name(), (namespace, "admin")).await?;
    let pool_ref = json!({"name": "shared", "namespace": home.name()});
    for (picture, phase) in [(61, "Pending"), (62, "Pending"), (63, "Running")] {
        let job = send(api.post(jpeg(picture)).bearer_auth(&tenant))
            .await?
            .id()?;
        let status = json!({"phase": phase, "poolRef": pool_ref});
        api.write_status(&job, status).await?;
    }
    let url = format!("{}/v1/pools", api.base);
    let total = json!({"replicas": 2, "readyReplicas": 1, "queued": 70, "running": 30});
    for (token, total) in [(tenant, Value::Null), (admin, total)] {
        until("the pool's counts", || async {
            let shown = send(api.http.get(&url).bearer_auth(&token)).await?;
            let shown = &shown.body["pools"][0];
            let own = (&shown["queued"], &shown["running"]);
            anyhow::ensure!(own == (&json!(2), &json!(1)), "{shown}");
            anyhow::ensure!(shown["total"] == total, "{shown}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
