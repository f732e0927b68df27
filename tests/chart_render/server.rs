//! The API server accepts the renders in namespaces for restricted pods only.

use crate::{goldens, objects, output_of, tools};
use anyhow::{Context as _, Result, ensure};
use fovea_dev::chart::conform::{LOCATION, OPENAPI, write_schemas};
use fovea_harness::{ControlPlane, ControlPlaneOptions, eventually, stack};
use fovea_setup::cache::Cache;
use fovea_setup::chart_crds;
use fovea_setup::go::KUBECONFORM;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);
/// Labels of each namespace: the strictest Pod Security.
const LABELS: &str =
    "pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted";

#[tokio::test]
async fn every_render_is_taken_without_a_warning_by_an_api_server_that_lets_in_restricted_pods_alone()
-> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tools()?;
    let control_plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
    define(&control_plane).await?;
    let goldens = goldens()?;
    make_namespaces(&control_plane, &goldens).await?;
    for golden in &goldens {
        taken(&control_plane, "-f", golden).await?;
    }
    for folder in ["manifests/install", "manifests/install/watch-namespace"] {
        taken(&control_plane, "-k", &stack::repository().join(folder)).await?;
    }
    conform(&control_plane, &goldens).await
}

/// Our definitions, and those of others' that the chart makes objects of.
async fn define(control_plane: &ControlPlane) -> Result<()> {
    let ours = stack::repository().join("charts/fovea/files/crds");
    let others = chart_crds::folder(&Cache::from_env()?);
    for folder in [&ours, &others] {
        let folder = folder.display().to_string();
        let apply = ["apply", "--server-side", "-f", &folder];
        control_plane.kubectl(&apply).await?.success("defining")?;
    }
    let wait = "wait --for=condition=Established --timeout=60s crd --all";
    control_plane.kubectl_line(wait).await?;
    Ok(())
}

async fn make_namespaces(control_plane: &ControlPlane, goldens: &[PathBuf]) -> Result<()> {
    let mut names = BTreeSet::new();
    for golden in goldens {
        for object in objects(golden)? {
            let namespace = object["metadata"]["namespace"].as_str();
            names.extend(namespace.map(str::to_owned));
        }
    }
    for name in names {
        if name != "default" {
            let create = format!("create namespace {name}");
            control_plane.kubectl_line(&create).await?;
        }
        let label = format!("label namespace {name} {LABELS}");
        control_plane.kubectl_line(&label).await?;
        // No pod is let in before it.
        let get = format!("get serviceaccount default -n {name}");
        eventually("its service account", PATIENCE, || {
            control_plane.kubectl_line(&get)
        })
        .await?;
    }
    Ok(())
}

async fn taken(control_plane: &ControlPlane, flag: &str, path: &Path) -> Result<()> {
    let path = path.display().to_string();
    let strict = ["apply", "--server-side", "--dry-run=server"];
    let apply = [&strict[..], &["--validate=strict", flag, &path]].concat();
    let answer = control_plane.kubectl(&apply).await?;
    ensure!(answer.status.success(), "{path}:\n{}", answer.stderr);
    ensure!(answer.stderr.is_empty(), "{path}:\n{}", answer.stderr);
    Ok(())
}

/// kubeconform, with schemas of what this API server says of itself.
async fn conform(control_plane: &ControlPlane, goldens: &[PathBuf]) -> Result<()> {
    let get = format!("get --raw {OPENAPI}");
    let openapi = serde_json::from_str(&control_plane.kubectl_line(&get).await?)?;
    let folder = tempfile::tempdir()?;
    write_schemas(&openapi, folder.path())?;
    let mut kubeconform = Command::new(KUBECONFORM.program(&Cache::from_env()?, "kubeconform"));
    let location = folder.path().join(LOCATION);
    kubeconform
        .args(["-strict", "-summary", "-schema-location"])
        .arg(location)
        .args(goldens)
        .arg(stack::repository().join("manifests/samples"));
    let summary = output_of(&mut kubeconform)?;
    let skipped = summary.contains("Skipped: 0");
    ensure!(skipped, "some kinds have no schema: {summary}");
    let count = summary.split("Summary: ").nth(1).context("a summary")?;
    ensure!(!count.starts_with("0 "), "{summary}");
    Ok(())
}
