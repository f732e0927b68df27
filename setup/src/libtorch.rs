//! libtorch for the CPU, from the wheels that `pip install torch` would download. A binary that is linked
//! with it also runs with the full wheel and uses the GPU there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{SetupError, run_command};
use crate::cache::Cache;
use crate::versions::LIBTORCH;

/// Libraries that tch links, and their dependencies beyond the C++ runtime.
const LIBRARIES: [&str; 5] = [
    "libtorch_cpu.so",
    "libc10.so",
    "libgomp.so.1",
    "libcupti.so.13",
    "libcudart.so.13",
];

/// The kinds of wheel that may be fetched: torch's own tag and those of the CUDA libraries.
const PLATFORMS: [&str; 8] = [
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_25_x86_64",
    "manylinux_2_18_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux_2_12_x86_64",
    "manylinux_2_5_x86_64",
    "manylinux2014_x86_64",
];

/// The wheels of libtorch with their digests, as pip reads them.
pub const REQUIREMENTS: &str = include_str!("../python/libtorch.txt");
/// The wheels of libtorch with CUDA, likewise.
pub const CUDA_REQUIREMENTS: &str = include_str!("../python/libtorch-cuda.txt");
const UNPACK: &str = include_str!("../python/unpack_wheels.py");

pub fn entry() -> String {
    format!("libtorch-{LIBTORCH}-cpu")
}

/// The name of the cache entry of libtorch with CUDA.
pub fn cuda_entry() -> String {
    format!("libtorch-{LIBTORCH}-cuda")
}

/// Fetches libtorch with CUDA if it is missing. Only images contain it; nothing here links it.
pub fn ensure_cuda(cache: &Cache) -> Result<PathBuf, SetupError> {
    let label = format!("libtorch {LIBTORCH} with CUDA");
    let step = format!("fetching {label} from PyPI (2 GB)");
    let fetch = |dir: &Path| unpack(dir, CUDA_REQUIREMENTS, &[]);
    cache.get_or_build_with_progress(&cuda_entry(), [&label, &step], fetch)
}

/// Fetches libtorch if it is missing; returns the folder for `LIBTORCH`.
pub fn ensure(cache: &Cache) -> Result<PathBuf, SetupError> {
    let label = format!("libtorch {LIBTORCH}");
    let step = format!("fetching {label} from PyPI (540 MB)");
    cache.get_or_build_with_progress(&entry(), [&label, &step], fetch)
}

fn fetch(out: &Path) -> Result<(), SetupError> {
    unpack(out, REQUIREMENTS, &LIBRARIES)?;
    complete(out)?;
    check(&out.join("lib"))
}

/// Downloads wheels and extracts shared libraries: those named, or all if none is named.
fn unpack(out: &Path, list: &str, libraries: &[&str]) -> Result<(), SetupError> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(SetupError::Platform);
    }
    let wheels = out.join("wheels");
    let requirements = out.join("requirements.txt");
    fs::write(&requirements, list).map_err(SetupError::io("writing the list of wheels"))?;
    let mut pip = pip_download(&requirements, &wheels);
    run_command("fetching libtorch's wheels with pip", &mut pip)?;
    let mut python = Command::new("python3");
    python
        .args(["-c", UNPACK])
        .arg(&wheels)
        .arg(out)
        .args(libraries);
    run_command("unpacking libtorch's wheels", &mut python)?;
    fs::remove_dir_all(&wheels).map_err(SetupError::io("removing the wheels"))?;
    fs::remove_file(&requirements).map_err(SetupError::io("removing the list of wheels"))
}

/// Uses pip, the registry's ordinary client, which follows the user's settings. The Python version only
/// selects the wheel by its name: the extracted libraries do not use Python.
fn pip_download(requirements: &Path, wheels: &Path) -> Command {
    let mut pip = Command::new("python3");
    pip.args("-m pip download --quiet --no-cache-dir --no-deps".split(' '))
        .args("--only-binary=:all: --python-version=3.11 --implementation=cp".split(' '))
        .args(PLATFORMS.map(|platform| format!("--platform={platform}")))
        .arg("--require-hashes")
        .arg("--requirement")
        .arg(requirements)
        .arg("--dest")
        .arg(wheels);
    pip
}

/// Adds library names that tch's build links and the wheels lack.
fn complete(out: &Path) -> Result<(), SetupError> {
    let lib = out.join("lib");
    // The wheel's own libtorch.so only loads the CUDA half. This one is empty.
    let mut link = Command::new("cc");
    link.args("-shared -x c /dev/null -Wl,-soname,libtorch.so -o".split(' '))
        .arg(lib.join("libtorch.so"));
    run_command("linking an empty libtorch.so", &mut link)?;
    // `-lgomp`, for compilers without it, such as clang.
    std::os::unix::fs::symlink("libgomp.so.1", lib.join("libgomp.so"))
        .and_then(|()| fs::write(out.join("build-version"), format!("{LIBTORCH}\n")))
        .map_err(SetupError::io("completing libtorch"))
}

/// Loads the library once, so that a missing dependency fails here and not in the first test that links
/// it.
fn check(lib: &Path) -> Result<(), SetupError> {
    run_command(
        "loading libtorch_cpu.so",
        Command::new("python3")
            .args(["-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])"])
            .arg(lib.join("libtorch_cpu.so"))
            .env("LD_LIBRARY_PATH", lib),
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_wheels_name_the_version_that_tch_wants() {
        for list in [REQUIREMENTS, CUDA_REQUIREMENTS] {
            assert!(list.contains(&format!("\ntorch=={LIBTORCH} --hash=")));
        }
    }
}
