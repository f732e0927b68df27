//! promtool, Prometheus' own check of rule files.

use std::path::Path;

use serde_json::Value;

use crate::cluster::ClusterError;
use crate::node::command;

/// Checks the `spec` of a `PrometheusRule` as a rule file. Returns promtool's output; the error is its
/// complaint.
pub async fn check_rules(spec: &Value) -> Result<String, ClusterError> {
    let folder = tempfile::tempdir().map_err(ClusterError::io("a folder for rules"))?;
    let path = folder.path().join("rules.json");
    std::fs::write(&path, spec.to_string()).map_err(ClusterError::io("writing rules"))?;
    promtool(&["check", "rules", "--lint-fatal"], &path).await
}

/// Runs promtool's unit tests of rules. The file names `rule_files` in the same folder, series, and the
/// alerts to expect at given times.
pub async fn test_rules(tests: &Path) -> Result<String, ClusterError> {
    promtool(&["test", "rules"], tests).await
}

async fn promtool(arguments: &[&str], file: &Path) -> Result<String, ClusterError> {
    let program = super::built("promtool")?;
    let (program, file) = (program.display().to_string(), file.display().to_string());
    let mut words = vec![program.as_str()];
    words.extend(arguments);
    words.push(&file);
    command::run(&words).await
}
