//! Clusters that are not ours: kind's, and the one of kubectl's current context.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use fovea_setup::cache::Cache;
use fovea_setup::go;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

const NAME: &str = "fovea";

pub(super) fn docker_answers() -> bool {
    let info = Command::new("docker")
        .arg("info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    info.is_ok_and(|status| status.success())
}

/// Creates a cluster with kind, which sets kubectl's current context to it.
pub(super) fn kind(images: &[PathBuf]) -> Result<()> {
    ensure!(docker_answers(), "kind needs docker, and no engine answers");
    let release = std::env::var("FOVEA_KUBERNETES").unwrap_or_default();
    ensure!(
        release.is_empty(),
        "kind starts the Kubernetes of its own node image: leave out KUBERNETES={release}"
    );
    let folder = go::KIND.ensure(&Cache::from_env()?)?;
    let kind = |arguments: &[&str]| {
        let status = Command::new(folder.join("kind")).args(arguments).status();
        let ended = status.context("starting kind")?;
        ensure!(ended.success(), "kind {}: {ended}", arguments.join(" "));
        Ok(())
    };
    kind(&["create", "cluster", "--name", NAME])?;
    for image in images {
        kind(&[
            "load",
            "image-archive",
            &image.display().to_string(),
            "--name",
            NAME,
        ])?;
    }
    println!("The cluster is up, and kubectl's current context. make cluster-down ends it.");
    Ok(())
}

pub(super) fn kind_down() -> Result<()> {
    let kind = go::KIND.program(&Cache::from_env()?, "kind");
    if kind.is_file() && docker_answers() {
        let ended = Command::new(kind)
            .args(["delete", "cluster", "--name", NAME])
            .status()?;
        ensure!(ended.success(), "kind delete cluster: {ended}");
    }
    Ok(())
}

/// Says what the current context is, and what it must have.
pub(super) async fn current() -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let config = fovea_cluster::kube_config().await;
    let config =
        config.context("there is no current context: see `kubectl config get-contexts`")?;
    let client = Client::try_from(config)?;
    let version = client
        .apiserver_version()
        .await
        .context("the current context's API server does not answer")?;
    let nodes: Vec<Node> = Api::all(client)
        .list(&kube::api::ListParams::default())
        .await?
        .items;
    let gpus: u64 = nodes
        .iter()
        .filter_map(|node| {
            node.status
                .as_ref()?
                .allocatable
                .as_ref()?
                .get("nvidia.com/gpu")
        })
        .filter_map(|count| count.0.parse::<u64>().ok())
        .sum();
    println!(
        "Kubernetes {}.{}: {} nodes, {gpus} nvidia.com/gpu.\n\
         Its nodes must be able to get Fovea's images: push them to a registry that they pull from,\n\
         or load target/images/*.tar into them; pods must reach the API server and your object store.",
        version.major,
        version.minor,
        nodes.len(),
    );
    Ok(())
}
