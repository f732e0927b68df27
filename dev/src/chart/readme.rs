//! The chart's README: helm-docs makes its table from the comments in values.yaml.

use super::render::Tools;
use super::{CHART, ChartError};
use fovea_harness::stack::repository;
use fovea_setup::run_command;
use std::process::Command;

pub(super) fn file(tools: &Tools) -> Result<(String, String), ChartError> {
    let mut docs = Command::new(&tools.docs);
    docs.arg("--chart-search-root")
        .arg(repository().join(CHART))
        .args(["--dry-run", "--log-level", "warning"]);
    let text = run_command("writing the chart's README", &mut docs)?;
    Ok((
        format!("{CHART}/README.md"),
        format!("{}\n", text.trim_end()),
    ))
}
