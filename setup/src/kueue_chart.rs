//! Kueue's own chart, with its definitions and webhooks. Copied from the Go module of its build.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::go::KUEUE;
use super::{NotBuilt, SetupError, progress, run_command};
use crate::cache::Cache;
use crate::versions;

const MODULE: &str = "sigs.k8s.io/kueue";
const CHART: &str = "charts/kueue";

fn entry() -> String {
    format!("kueue-chart-{}", versions::KUEUE)
}

/// Folder of the chart; the error says how to get it.
pub fn folder(cache: &Cache) -> Result<PathBuf, NotBuilt> {
    NotBuilt::unless_exists(cache.path(&entry()).join("kueue"))
}

pub(super) fn ensure(cache: &Cache) -> Result<(), SetupError> {
    cache.get_or_build(&entry(), |dir| {
        progress::step("copying Kueue's chart from its Go module", || copy(dir))
    })?;
    Ok(())
}

fn copy(out: &Path) -> Result<(), SetupError> {
    let chart = KUEUE.source(MODULE, out)?.join(CHART);
    let mut copy = Command::new("cp");
    // Files of Go modules are read-only.
    copy.args(["--recursive", "--no-preserve=mode"]);
    run_command("copying Kueue's chart", copy.arg(chart).arg(out))?;
    Ok(())
}
