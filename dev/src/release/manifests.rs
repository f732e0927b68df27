//! The manifests, one file each, for installation without helm.

use std::process::Command;

use super::{ReleaseError, VERSION, Work, files_below, read, write};
use fovea_setup::go::KUBERNETES;
use fovea_setup::run_command;

pub(super) fn file() -> String {
    format!("fovea-{VERSION}.yaml")
}

/// The definitions alone, for a separate installation.
pub(super) fn definitions() -> String {
    format!("fovea-crds-{VERSION}.yaml")
}

pub(super) fn write_all(work: &Work<'_>) -> Result<(), ReleaseError> {
    let mut kustomize = Command::new(KUBERNETES.program(work.cache, "kubectl"));
    kustomize
        .arg("kustomize")
        .arg(work.source.path("manifests/install"));
    let all = run_command("rendering manifests/install", &mut kustomize)?;
    write(&work.folder.join(file()), &all)?;
    let mut documents = Vec::new();
    for file in files_below(&work.source.path("manifests/crds"))? {
        documents.push(read(&file)?.trim_start_matches("---\n").to_owned());
    }
    write(&work.folder.join(definitions()), &documents.join("---\n"))
}
