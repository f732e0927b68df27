//! Definitions that an ingress controller reads besides Ingresses: Contour's, and the Gateway API's of the
//! version that Contour supports. Copied from the Go modules of its build.

use std::fs;
use std::path::{Path, PathBuf};

use super::go::CONTOUR;
use super::progress;
use super::{NotBuilt, SetupError};
use crate::cache::Cache;
use crate::versions;

const CONTOURS: (&str, &str) = (
    "github.com/projectcontour/contour",
    "examples/contour/01-crds.yaml",
);

/// Definitions of the standard channel: a manifest that needs the experimental channel fails.
const GATEWAYS: (&str, &str) = ("sigs.k8s.io/gateway-api", "config/crd/standard");

fn entry() -> String {
    format!("contour-crds-{}", versions::CONTOUR)
}

pub(super) fn are_there(cache: &Cache) -> bool {
    cache.has(&entry())
}

/// Folder of the definitions; the error says how to get it.
pub fn folder(cache: &Cache) -> Result<PathBuf, NotBuilt> {
    NotBuilt::unless_exists(cache.path(&entry()))
}

pub(super) fn ensure(cache: &Cache) -> Result<(), SetupError> {
    cache.get_or_build(&entry(), |dir| {
        let step = "copying the definitions of HTTPProxies and HTTPRoutes from Go modules";
        progress::step(step, || copy(dir))
    })?;
    Ok(())
}

fn copy(out: &Path) -> Result<(), SetupError> {
    let io = |source| SetupError::io("copying custom resource definitions")(source);
    let (module, file) = CONTOURS;
    let from = CONTOUR.source(module, out)?.join(file);
    fs::copy(from, out.join("projectcontour.io.yaml")).map_err(io)?;
    let (module, channel) = GATEWAYS;
    for file in fs::read_dir(CONTOUR.source(module, out)?.join(channel)).map_err(io)? {
        let file = file.map_err(io)?;
        fs::copy(file.path(), out.join(file.file_name())).map_err(io)?;
    }
    Ok(())
}
