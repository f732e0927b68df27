//! Where the `fovea-dev` program lies, seen from a test of any crate of this workspace.

use std::path::{Path, PathBuf};

use super::client::GuardError;

const NAME: &str = "fovea-dev";
const OVERRIDE: &str = "FOVEA_DEV_BIN";

/// `$FOVEA_DEV_BIN`; else this program itself; else one beside or above it, as
/// `target/debug/fovea-dev` lies above `target/debug/deps/some_test`.
pub(super) fn find() -> Result<PathBuf, GuardError> {
    if let Some(path) = std::env::var_os(OVERRIDE) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(GuardError::Override { path })
        };
    }
    let current = std::env::current_exe().unwrap_or_default();
    search(&current).ok_or(GuardError::NoExecutable)
}

/// A test lies two folders below `target/debug/<program>` at most.
fn search(current: &Path) -> Option<PathBuf> {
    current
        .ancestors()
        .skip(1)
        .take(3)
        .map(|dir| dir.join(NAME))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_beside_and_above_but_not_below() {
        let target = tempfile::tempdir().unwrap();
        let debug = target.path().join("debug");
        std::fs::create_dir_all(debug.join("deps")).unwrap();
        assert_eq!(search(&debug.join("deps/some_test")), None);
        std::fs::write(debug.join(NAME), "").unwrap();
        for from in ["deps/some_test", "fovea-operator", NAME] {
            assert_eq!(search(&debug.join(from)), Some(debug.join(NAME)), "{from}");
        }
        assert_eq!(search(&target.path().join("elsewhere")), None);
    }
}
