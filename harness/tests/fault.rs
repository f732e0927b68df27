//! What a fault test does to a control plane, and that nothing of one stays.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use fovea_harness::{ControlPlane, ControlPlaneOptions, eventually};

#[tokio::test]
async fn a_killed_api_server_answers_again_after_its_restart_and_a_stop_leaves_nothing()
-> Result<()> {
    let options = ControlPlaneOptions {
        controller_manager: false,
        ..Default::default()
    };
    let mut cluster = ControlPlane::start(options).await?;
    let client = cluster.client().await?;
    cluster.api_server().kill().await?;
    ensure!(client.apiserver_version().await.is_err());
    cluster.api_server().restart().await?;
    eventually("the API server", Duration::from_mins(1), || {
        client.apiserver_version()
    })
    .await?;

    let scratch = cluster.guardian().scratch().to_path_buf();
    let pid = cluster.api_server().pid();
    cluster.stop().await?;
    ensure!(!scratch.exists(), "{} is still there", scratch.display());
    ensure!(!Path::new(&format!("/proc/{pid}")).exists());
    ensure!(client.apiserver_version().await.is_err());
    Ok(())
}
