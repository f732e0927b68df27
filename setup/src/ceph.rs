//! Ceph's object gateway and the daemons behind it, from the distribution's packages: unpacked into the cache,
//! not installed.

use std::fs;
use std::path::{Path, PathBuf};

use super::{SetupError, debian};
use crate::cache::Cache;
use crate::versions::CEPH;

/// The packages; apt adds their dependencies.
const PACKAGES: [&str; 4] = ["ceph-mon", "ceph-osd", "ceph-common", "radosgw"];

fn entry() -> String {
    format!("ceph-{CEPH}")
}

/// A folder laid out like `/`.
pub fn root(cache: &Cache) -> PathBuf {
    cache.path(&entry())
}

pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf, SetupError> {
    let label = format!("Ceph {CEPH}");
    let step = format!("fetching {label} with apt (66 MB)");
    cache.get_or_build_with_progress(&entry(), [&label, &step], fetch)
}

fn fetch(root: &Path) -> Result<(), SetupError> {
    let packages = PACKAGES.map(|name| format!("{name}={CEPH}*"));
    debian::fetch(root, &packages)?;
    let path = root.join("usr/bin/radosgw");
    let found = fs::metadata(&path).map(drop);
    found.map_err(SetupError::io(format!("looking for {}", path.display())))
}

/// Where the programs find their libraries, for `LD_LIBRARY_PATH`.
pub fn library_path(cache: &Cache) -> String {
    let root = root(cache);
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders = [
        format!("usr/lib/{machine}"),
        format!("usr/lib/{machine}/ceph"),
        format!("lib/{machine}"),
    ];
    folders
        .map(|folder| root.join(folder).display().to_string())
        .join(":")
}
