//! What tools see that judge and wait by kstatus, with the package and the waiting code of Flux and Helm,
//! and what `kubectl wait` sees. The tables of docs/src/wait.md are what these tests find.

mod jobs;
mod pools;

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, RunnerPool};
use fovea_harness::eventually;
use fovea_harness::stack::{SYSTEM_NAMESPACE, repository};
use fovea_setup::cache::Cache;
use fovea_setup::go::KSTATUS;
use fovea_tests::Operated;
use fovea_tests::operated::{JOBS, PATIENCE};
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Resource};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::LazyLock;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const DOCS: &str = "docs/src/wait.md";

/// The program around kstatus; the first test that needs it builds it.
fn program() -> Result<PathBuf> {
    static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        let cache = Cache::from_env().map_err(|error| error.to_string())?;
        KSTATUS.ensure(&cache).map_err(|error| error.to_string())?;
        Ok(KSTATUS.program(&cache, "kstatus"))
    });
    PROGRAM.clone().map_err(anyhow::Error::msg)
}

/// An object as the API server has it, and what kstatus says of it.
struct Judged {
    object: Value,
    status: String,
    message: String,
}

impl Judged {
    async fn of<K>(operated: &Operated, namespace: &str, name: &str) -> Result<Self>
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(operated.client.clone(), namespace, &resource);
        let object = serde_json::to_value(api.get(name).await?)?;
        let mut judge = Command::new(program()?)
            .arg("compute")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = judge.stdin.take().context("no stdin")?;
        stdin.write_all(object.to_string().as_bytes()).await?;
        drop(stdin);
        let output = judge.wait_with_output().await?;
        let line = String::from_utf8(output.stdout)?;
        let mut words = line.trim_end().splitn(3, ' ').skip(1).map(str::to_owned);
        Ok(Self {
            object,
            status: words.next().context("no status")?,
            message: words.next().unwrap_or_default(),
        })
    }

    /// The types of the conditions that are True, as the docs write them.
    fn conditions(&self) -> String {
        let all = self.object["status"]["conditions"].as_array();
        let all = all.into_iter().flatten();
        let is_true = all.filter(|each| each["status"] == "True");
        let names = is_true.filter_map(|each| Some(format!("`{}`", each["type"].as_str()?)));
        names.collect::<Vec<_>>().join(", ")
    }
}

/// Checks that the docs have a table of these rows.
fn documented(rows: &[String]) -> Result<()> {
    let docs = std::fs::read_to_string(repository().join(DOCS))?;
    let table = rows.join("\n");
    ensure!(docs.contains(&table), "{DOCS} does not have\n{table}");
    Ok(())
}

/// Waits for an object as a tool does; its error, if it ends with one.
async fn wait_as(
    operated: &Operated,
    tool: &str,
    timeout: &str,
    object: [&str; 3],
) -> Result<Result<(), String>> {
    let output = Command::new(program()?)
        .args([tool, timeout])
        .args(object)
        .env("KUBECONFIG", operated.control_plane.kubeconfig())
        .output()
        .await?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(String::from_utf8(output.stderr)?))
}
