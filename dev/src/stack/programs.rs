//! Where Fovea's own programs and files lie.

use super::StackError;
use std::path::{Path, PathBuf};

/// The root of this repository, as it was when this crate was built.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// A program beside or above this one, as `target/debug/fovea-api` lies above
/// `target/debug/deps/some_test`.
pub fn find(name: &'static str) -> Result<PathBuf, StackError> {
    let current = std::env::current_exe().unwrap_or_default();
    let found = current
        .ancestors()
        .skip(1)
        .take(3)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found.ok_or(StackError::NotBuilt(name))
}
