//! Helm 4, which applies on the server, beside others that write the same fields; and the Helm before.

use crate::tools;
use anyhow::{Context as _, Result, ensure};
use fovea_dev::chart::CHART;
use fovea_harness::stack::{SYSTEM_NAMESPACE, repository};
use fovea_harness::{ControlPlane, ControlPlaneOptions};
use fovea_setup::go::{HELM, HELM_3};
use fovea_tests::helm::Helm;

/// Releases of the trial's preset without their hooks, which wait for pods.
struct Releases {
    control_plane: ControlPlane,
    chart: String,
}

impl Releases {
    async fn helm(&self, helm: &Helm, verb: &str, more: &[&str]) -> Result<String> {
        let preset = format!("{}/presets/trial.yaml", self.chart);
        let values = [&*self.chart, "-f", &preset];
        let values = if verb == "uninstall" {
            &[]
        } else {
            &values[..]
        };
        let release = [verb, "fovea", "-n", SYSTEM_NAMESPACE, "--no-hooks"];
        helm.run(&[&release[..], values, more].concat()).await
    }

    async fn kubectl(&self, line: &str) -> Result<String> {
        let line = format!("{line} -n {SYSTEM_NAMESPACE}");
        Ok(self.control_plane.kubectl_line(&line).await?)
    }

    async fn scale(&self, replicas: u32) -> Result<()> {
        let scale = format!("scale deployment fovea-api --replicas={replicas}");
        self.kubectl(&scale).await.map(drop)
    }

    async fn replicas(&self) -> Result<String> {
        let get = "get deployment fovea-api -o jsonpath={.spec.replicas}";
        self.kubectl(get).await
    }
}

#[tokio::test]
async fn what_somebody_has_scaled_conflicts_with_no_upgrade_of_either_helm() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tools()?;
    let control_plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
    let helm = |tools| Helm::of(tools, control_plane.kubeconfig());
    let (helm_4, helm_3) = (helm(HELM)?, helm(HELM_3)?);
    let it = Releases {
        chart: repository().join(CHART).display().to_string(),
        control_plane,
    };
    // No number in the values: what the preset says is left out.
    let unset = ["--set", "api.replicas=null"];
    let created = [&unset[..], &["--create-namespace"]].concat();
    it.helm(&helm_4, "install", &created).await?;
    assert_eq!(it.replicas().await?, "2");
    it.scale(0).await?;
    it.helm(&helm_4, "upgrade", &unset).await?;
    assert_eq!(it.replicas().await?, "0");
    it.scale(4).await?;
    it.helm(&helm_4, "upgrade", &unset).await?;
    assert_eq!(it.replicas().await?, "4");

    // A number in the values is the release's, and helm says who else has set one.
    let three = ["--set", "api.replicas=3"];
    let refused = it.helm(&helm_4, "upgrade", &three).await.err();
    let refused = refused.context("a conflict")?.to_string();
    ensure!(
        refused.contains("conflict") && refused.contains("kubectl"),
        "{refused}"
    );
    let forced = [&three[..], &["--force-conflicts"]].concat();
    it.helm(&helm_4, "upgrade", &forced).await?;
    assert_eq!(it.replicas().await?, "3");
    it.helm(&helm_4, "uninstall", &["--wait"]).await?;

    // A release of helm 3 is upgraded by both.
    it.helm(&helm_3, "install", &unset)
        .await
        .context("helm 3")?;
    it.scale(5).await?;
    it.helm(&helm_3, "upgrade", &unset)
        .await
        .context("helm 3")?;
    assert_eq!(it.replicas().await?, "5");
    it.helm(&helm_4, "upgrade", &unset).await.context("of 3")?;
    assert_eq!(it.replicas().await?, "5");
    it.helm(&helm_4, "upgrade", &three).await.context("of 3")?;
    assert_eq!(it.replicas().await?, "3");
    it.helm(&helm_3, "uninstall", &["--wait"]).await?;
    Ok(())
}
