//! Definitions of the chart's resources for other controllers: routes, monitors, rules. Copied from their Go
//! modules.

use std::fs;
use std::path::{Path, PathBuf};

use super::SetupError;
use super::go::{CONTOUR, GoTools, MONITORING};
use super::progress;
use crate::cache::Cache;
use crate::versions;

/// For each module: the tools whose go.mod pins it, and its files with definitions.
const FILES: [(&GoTools, &str, &str); 4] = [
    (
        &CONTOUR,
        "sigs.k8s.io/gateway-api",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    (
        &MONITORING,
        OPERATOR,
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
    (
        &MONITORING,
        OPERATOR,
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    (
        &MONITORING,
        OPERATOR,
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
];

const OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator";

pub fn folder(cache: &Cache) -> PathBuf {
    let versions = [versions::CONTOUR, versions::PROMETHEUS_OPERATOR];
    cache.path(&format!("chart-crds-{}", versions.join("-")))
}

pub(super) fn ensure(cache: &Cache) -> Result<(), SetupError> {
    let folder = folder(cache);
    let entry = folder.file_name().unwrap_or_default().to_string_lossy();
    cache.get_or_build(&entry, |dir| {
        let step = "copying the definitions of HTTPRoutes, monitors and rules from Go modules";
        progress::step(step, || copy(dir))
    })?;
    Ok(())
}

fn copy(out: &Path) -> Result<(), SetupError> {
    for (pinned, module, file) in FILES {
        let from = pinned.source(module, out)?.join(file);
        let to = out.join(from.file_name().unwrap_or_default());
        fs::copy(&from, to).map_err(|source| SetupError::Io {
            what: format!("copying {}", from.display()),
            source,
        })?;
    }
    Ok(())
}
