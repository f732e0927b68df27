//! The pinned helm, as a user of a cluster has it, or the one before.

use anyhow::{Context as _, Result, ensure};
use fovea_setup::cache::Cache;
use fovea_setup::go::{GoTools, HELM};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// Bound on every call; one that waits has its own `--timeout`.
const LIMIT: Duration = Duration::from_mins(6);

/// helm for one cluster; its folders go with this value.
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Helm {
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        Self::of(HELM, kubeconfig)
    }

    pub fn of(tools: GoTools, kubeconfig: &Path) -> Result<Self> {
        Ok(Self {
            program: tools.program(&Cache::from_env()?, "helm"),
            kubeconfig: kubeconfig.to_path_buf(),
            home: TempDir::new()?,
        })
    }

    pub fn values(&self, name: &str, values: &Value) -> Result<String> {
        let path = self.home.path().join(format!("{name}.yaml"));
        // JSON is YAML.
        std::fs::write(&path, serde_json::to_vec_pretty(values)?)?;
        Ok(path.display().to_string())
    }

    /// Runs it; its stdout, or an error with what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let what = format!("helm {}", arguments.join(" "));
        let mut helm = Command::new(&self.program);
        for variable in fovea_harness::PROXY_VARIABLES {
            helm.env_remove(variable);
        }
        let running = helm
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", self.home.path().join("cache"))
            .env("HELM_CONFIG_HOME", self.home.path().join("config"))
            .env("HELM_DATA_HOME", self.home.path().join("data"))
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(LIMIT, running)
            .await
            .with_context(|| format!("{what} took too long"))??;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{what}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
