//! Paths of Fovea's programs and files.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("{0} is not built: run `make demo` or `make test`, or `cargo build --workspace`")]
pub struct ProgramNotBuilt(pub &'static str);

/// The root of this repository, as it was when this crate was built.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Finds a program beside or above this one, as `target/debug/fovea-api` is above
/// `target/debug/deps/some_test`.
pub fn find(name: &'static str) -> Result<PathBuf, ProgramNotBuilt> {
    beside_or_above(&std::env::current_exe().unwrap_or_default(), name).ok_or(ProgramNotBuilt(name))
}

/// A test is at most two folders below `target/debug/<program>`.
pub(crate) fn beside_or_above(current: &Path, name: &str) -> Option<PathBuf> {
    current
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
