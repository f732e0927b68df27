//! Memory limits of the chart's containers.

use anyhow::{Context as _, Result};
use fovea_crds::yaml::{self, Value};
use fovea_harness::stack::repository;

/// The chart with its default values, as it is rendered and committed.
const RENDER: &str = "tests/chart/golden/minimal.yaml";

/// In MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) operator: f64,
    pub(crate) api: f64,
}

pub(crate) fn of_the_chart() -> Result<Limits> {
    let text = std::fs::read_to_string(repository().join(RENDER))?;
    let documents: Vec<Value> = yaml::documents(&text).collect::<Result<_, _>>()?;
    let of = |name: &str| {
        let is_its = |document: &&Value| {
            document["kind"] == "Deployment" && document["metadata"]["name"] == name
        };
        let deployment = documents.iter().find(is_its);
        let deployment = deployment.with_context(|| format!("no Deployment {name}"))?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let memory = container["resources"]["limits"]["memory"].as_str();
        mib(memory.unwrap_or_default()).with_context(|| format!("{name}: {memory:?}"))
    };
    Ok(Limits {
        operator: of("fovea-operator")?,
        api: of("fovea-api")?,
    })
}

fn mib(quantity: &str) -> Option<f64> {
    let units = [("Ki", 1.0 / 1024.0), ("Mi", 1.0), ("Gi", 1024.0)];
    units.into_iter().find_map(|(unit, factor)| {
        let number: f64 = quantity.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    })
}
