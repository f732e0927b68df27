//! Whether the memory and the disk of the pods follow from the values.

use crate::{goldens, objects, output_of, tools};
use anyhow::{Context as _, Result, ensure};
use fovea_crds::yaml;
use fovea_dev::chart::CHART;
use fovea_harness::stack::repository;
use serde_json::Value;

const MIB: u64 = 1024 * 1024;
/// The API itself: the program, reads of single jobs, and the cache of jobs.
const BASE_BYTES: u64 = 256 * MIB;
/// Memory of a connection, and of a wait.
const EACH_BYTES: u64 = 16 * 1024;

fn pod(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]
}

/// The value of a container's flag.
fn flag(container: &Value, name: &str) -> Result<u64> {
    let flags = container["args"].as_array().context("flags")?;
    let prefix = format!("--{name}=");
    let value = flags
        .iter()
        .find_map(|flag| flag.as_str()?.strip_prefix(&prefix));
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

fn mebibytes(quantity: &Value) -> Result<u64> {
    let text = quantity.as_str().context("no quantity")?;
    let number = |unit| text.strip_suffix(unit).map(str::parse::<u64>);
    match (number("Mi"), number("Gi")) {
        (Some(mib), _) => Ok(mib?),
        (_, Some(gib)) => Ok(gib? * 1024),
        _ => anyhow::bail!("{text}"),
    }
}

/// What the flags of the API let it hold, in mebibytes.
fn held_mib(container: &Value) -> Result<u64> {
    let clients = flag(container, "max-connections")? + flag(container, "max-waiters")?;
    let bytes = BASE_BYTES + flag(container, "memory-bytes")? + clients * EACH_BYTES;
    Ok(bytes.div_ceil(MIB))
}

fn check_api(object: &Value) -> Result<u64> {
    let container = &pod(object)["containers"][0];
    let limit = mebibytes(&container["resources"]["limits"]["memory"])?;
    let held = held_mib(container)?;
    ensure!(limit == held, "a limit of {limit} MiB, {held} MiB held");
    let uploads = flag(container, "upload-memory-bytes")?;
    ensure!(uploads <= flag(container, "memory-bytes")?);
    let volumes = pod(object)["volumes"].as_array().context("volumes")?;
    let tmp = volumes.iter().find(|volume| volume["name"] == "tmp");
    let tmp = mebibytes(&tmp.context("no tmp")?["emptyDir"]["sizeLimit"])?;
    let archives = (4 * flag(container, "max-archive-bytes")?).div_ceil(MIB);
    ensure!(tmp == archives + 64, "{tmp} MiB for {archives} MiB");
    Ok(limit)
}

#[test]
fn the_api_s_limits_are_the_sum_of_what_its_flags_let_it_hold() -> Result<()> {
    let mut checked = 0;
    for golden in goldens()? {
        for object in objects(&golden)? {
            let is_api = pod(&object)["containers"][0]["name"] == "api";
            if is_api {
                check_api(&object).with_context(|| golden.display().to_string())?;
                checked += 1;
            }
        }
    }
    ensure!(checked >= 10, "{checked}");

    let mut template = tools()?.template();
    template
        .args(["--values"])
        .arg(repository().join(CHART).join("ci/minimal-values.yaml"))
        .args(["--set", "api.limits.memoryBytes=1073741824"])
        .args(["--set", "api.limits.maxConnections=1000"])
        .args(["--set", "api.limits.maxWaiters=100"])
        .args(["--set", "api.limits.maxArchiveBytes=1000000"])
        .args(["--set", "api.resources.limits.cpu=2"]);
    let rendered = output_of(&mut template)?;
    let mut found = None;
    for document in yaml::documents::<Value>(&rendered) {
        let object = document?;
        let container = &pod(&object)["containers"][0];
        if container["name"] == "api" {
            ensure!(container["resources"]["limits"]["cpu"] == 2, "{container}");
            found = Some(check_api(&object)?);
        }
    }
    assert_eq!(found, Some(1298));
    Ok(())
}

#[test]
fn every_folder_on_a_node_s_disk_has_a_size_limit() -> Result<()> {
    let mut folders = 0;
    for golden in goldens()? {
        for object in objects(&golden)? {
            let volumes = pod(&object)["volumes"].as_array().into_iter().flatten();
            for volume in volumes {
                let folder = &volume["emptyDir"];
                // This one is the user's own.
                if folder.is_null() || volume["name"] == "x" {
                    continue;
                }
                folders += 1;
                mebibytes(&folder["sizeLimit"])
                    .with_context(|| format!("{volume} in {}", golden.display()))?;
            }
        }
    }
    ensure!(folders >= 24, "{folders}");
    Ok(())
}
