//! The rendered chart without nodes: rejected values and their errors; and the API server, kubeconform and
//! the programs accept the rest.

#[path = "chart_render/bounds.rs"]
mod bounds;
#[path = "chart_render/flags.rs"]
mod flags;
#[path = "chart_render/helms.rs"]
mod helms;
#[path = "chart_render/networks.rs"]
mod networks;
#[path = "chart_render/refusals.rs"]
mod refusals;
#[path = "chart_render/release.rs"]
mod release;
#[path = "chart_render/server.rs"]
mod server;

use anyhow::{Context as _, Result, ensure};
use fovea_crds::yaml;
use fovea_dev::chart::CHART;
use fovea_dev::chart::render::{Tools, values};
use fovea_harness::stack::repository;
use fovea_setup::cache::Cache;
use fovea_setup::{self as setup, Part};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// helm and the other tools of the chart's tests, built if missing.
fn tools() -> Result<&'static Tools> {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    static BUILDING: Mutex<()> = Mutex::new(());
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tools) = TOOLS.get() {
        return Ok(tools);
    }
    let cache = Cache::from_env()?;
    setup::run(&cache, &[Part::Chart])?;
    let tools = Tools::ensure(&cache)?;
    Ok(TOOLS.get_or_init(|| tools))
}

/// The renders that are committed, which `make check-generated` holds against the chart.
fn goldens() -> Result<Vec<PathBuf>> {
    let folder = repository().join("tests/chart/golden");
    let entries = std::fs::read_dir(folder)?;
    let mut goldens = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    goldens.sort();
    ensure!(goldens.len() >= 12, "{goldens:?}");
    Ok(goldens)
}

fn objects(path: &PathBuf) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path)?;
    let mut objects = Vec::new();
    for document in yaml::documents::<Value>(&text) {
        let object = document.with_context(|| path.display().to_string())?;
        objects.extend((!object.is_null()).then_some(object));
    }
    Ok(objects)
}

fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(output.status.success(), "{command:?}:\n{text}");
    Ok(text)
}

#[test]
fn helm_lint_accepts_every_set_of_values() -> Result<()> {
    let tools = tools()?;
    for values in values()? {
        let mut lint = tools.helm();
        lint.args(["lint", "--strict", "--quiet"])
            .args(["--kube-version", fovea_setup::versions::KUBERNETES])
            .args(["--namespace", "fovea-system"])
            .arg("--values")
            .arg(&values.path)
            .arg(repository().join(CHART));
        output_of(&mut lint)?;
    }
    Ok(())
}

#[test]
fn helm_3_renders_what_helm_4_renders() -> Result<()> {
    tools()?;
    let helm_3 = Tools::with_helm_3(&Cache::from_env()?)?;
    for values in values()? {
        let golden = repository().join(format!("tests/chart/golden/{}.yaml", values.name));
        let rendered = fovea_dev::chart::render::golden(&helm_3, &values)?;
        let is_same = rendered == std::fs::read_to_string(golden)?;
        ensure!(is_same, "{}:\n{rendered}", values.name);
    }
    Ok(())
}

#[test]
fn the_chart_is_of_the_programs_version() -> Result<()> {
    let path = repository().join(CHART).join("Chart.yaml");
    let chart: Value = yaml::parse(&std::fs::read_to_string(path)?)?;
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
    Ok(())
}

#[test]
fn what_one_release_has_in_the_cluster_another_of_its_name_has_not() -> Result<()> {
    let tools = tools()?;
    let names = |namespace: &str| -> Result<Vec<String>> {
        let mut template = tools.template();
        let preset = repository().join(CHART).join("presets/production-gpu.yaml");
        template
            .args([
                "--namespace",
                namespace,
                "--set",
                "crds.enabled=false",
                "--values",
            ])
            .arg(preset);
        let rendered = output_of(&mut template)?;
        let mut names = Vec::new();
        for document in yaml::documents::<Value>(&rendered) {
            let object = document?;
            if object["metadata"]["namespace"].is_null() && !object.is_null() {
                names.push(format!("{} {}", object["kind"], object["metadata"]["name"]));
            }
        }
        Ok(names)
    };
    let (one, other) = (names("one")?, names("other")?);
    ensure!(!one.is_empty());
    assert!(
        one.iter().all(|name| !other.contains(name)),
        "{one:?} {other:?}"
    );
    Ok(())
}
