//! Finds the program `fovea-guard` from a test of any crate of this workspace.

use std::path::PathBuf;

use super::error::GuardError;
use crate::programs::beside_or_above;

const NAME: &str = "fovea-guard";
const OVERRIDE: &str = "FOVEA_GUARD_BIN";

/// Path of `fovea-guard`: `$FOVEA_GUARD_BIN`; else this program; else the one beside or above it, as
/// `target/debug/fovea-guard` is above `target/debug/deps/some_test`.
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
    beside_or_above(&current, NAME).ok_or(GuardError::NoExecutable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_beside_and_above_but_not_below() {
        let target = tempfile::tempdir().unwrap();
        let debug = target.path().join("debug");
        std::fs::create_dir_all(debug.join("deps")).unwrap();
        assert_eq!(beside_or_above(&debug.join("deps/some_test"), NAME), None);
        std::fs::write(debug.join(NAME), "").unwrap();
        for from in ["deps/some_test", "fovea-operator", NAME] {
            assert_eq!(
                beside_or_above(&debug.join(from), NAME),
                Some(debug.join(NAME)),
                "{from}"
            );
        }
        assert_eq!(
            beside_or_above(&target.path().join("elsewhere"), NAME),
            None
        );
    }
}
