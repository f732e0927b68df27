//! The control plane, as the tests of the other crates use it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use fovea_harness::{ControlPlane, TempNamespace, eventually, with_temp_ns};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client};

fn config_map(name: &str) -> ConfigMap {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    ConfigMap {
        metadata,
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn an_object_that_a_client_creates_is_seen_by_kubectl() -> Result<()> {
    let cluster = ControlPlane::shared().await?;
    with_temp_ns(&cluster.config().await?, async |client, namespace| {
        let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
        maps.create(&PostParams::default(), &config_map("seen"))
            .await?;
        let get = format!("get configmap seen --namespace {namespace} --output=name");
        let seen = cluster.kubectl_line(&get).await?;
        ensure!(seen.trim() == "configmap/seen", "{seen}");
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn kubectl_applies_manifests_and_reports_errors() -> Result<()> {
    let cluster = ControlPlane::shared().await?;
    let namespace = TempNamespace::create(&cluster.config().await?).await?;
    let apply = ["apply", "--namespace", namespace.name(), "--filename=-"];
    let manifest = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"},
    });
    let applied = cluster.kubectl_with(&apply, &manifest.to_string()).await?;
    ensure!(applied.status.success(), "{}", applied.stderr);
    let refused = cluster.kubectl_with(&apply, "kind: Nothing").await?;
    let error = refused.success("apply").unwrap_err().to_string();
    ensure!(error.contains("apiVersion"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_user_without_rights_is_refused_and_one_with_rights_is_not() -> Result<()> {
    let cluster = ControlPlane::shared().await?;
    let list = async |client: Client| {
        Api::<ConfigMap>::namespaced(client, "default")
            .list(&ListParams::default())
            .await
    };
    let refused = list(cluster.client_for("somebody", &[]).await?).await;
    match refused {
        Err(kube::Error::Api(status)) if status.code == 403 => {}
        other => bail!("{other:?}"),
    }
    list(cluster.client_for("somebody", &["system:masters"]).await?).await?;
    let kubeconfig = cluster.kubeconfig_for("somebody", &[])?;
    let flag = format!("--kubeconfig={}", kubeconfig.display());
    let whoami = cluster
        .kubectl(&[&flag, "auth", "whoami"])
        .await?
        .success("whoami")?;
    ensure!(whoami.contains("somebody"), "{whoami}");
    Ok(())
}

#[tokio::test]
async fn a_namespace_is_deleted_with_its_last_user() -> Result<()> {
    let cluster = ControlPlane::shared().await?;
    let namespaces: Api<Namespace> = Api::all(cluster.client().await?);
    let namespace = TempNamespace::create(&cluster.config().await?).await?;
    let name = namespace.name().to_owned();
    namespaces.get(&name).await?;
    drop(namespace);
    eventually("the namespace's end", Duration::from_mins(1), || async {
        match namespaces.get_opt(&name).await? {
            None => Ok(()),
            Some(namespace) => bail!("{:?}", namespace.status),
        }
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_an_object_owns_is_collected_with_it() -> Result<()> {
    let cluster = ControlPlane::shared().await?;
    with_temp_ns(&cluster.config().await?, async |client, namespace| {
        let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
        let owner = maps
            .create(&PostParams::default(), &config_map("owner"))
            .await?;
        let mut dependent = config_map("dependent");
        dependent.metadata.owner_references =
            kube::Resource::owner_ref(&owner, &()).map(|reference| vec![reference]);
        maps.create(&PostParams::default(), &dependent).await?;
        maps.delete("owner", &DeleteParams::default()).await?;
        eventually("the collection", Duration::from_mins(1), || async {
            ensure!(maps.get_opt("dependent").await?.is_none(), "still there");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await?
}
