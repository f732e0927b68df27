//! Memory that loading a checkpoint takes, over what the process has before: libtorch is loaded and
//! has computed something by then, which takes 25 MB.
//!
//!     cargo run --release -p fovea-runner --example load_peak -- FOLDER
//!
//! Prints one line of JSON. `FOLDER` is any that `fovea-runner --model NAME=FOLDER` serves.

use anyhow::Context as _;
use fovea_runner::models::{self, nn::Linear};
use fovea_runner::weights::{PYTORCH_FILE, Placement, SAFETENSORS_FILE};
use std::path::PathBuf;
use std::time::Instant;
use tch::{Device, Kind, Tensor};
use tikv_jemallocator::Jemalloc;

/// The runner's own allocator.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("which folder?")?);
    let _no_grad = tch::no_grad_guard();
    let files = [SAFETENSORS_FILE, PYTORCH_FILE].map(|name| folder.join(name));
    let file = files
        .iter()
        .find(|file| file.exists())
        .context("no weights in one file")?;
    let weights_bytes = file.metadata()?.len();
    let (_front, load) = models::open(&folder)?;
    let zeros = |shape: &[i64]| Tensor::f_zeros(shape, (Kind::Float, Device::Cpu));
    drop(Linear::from_tensors(zeros(&[16, 16])?, zeros(&[16])?));
    let before = status_bytes("VmRSS:")?;
    let begun = Instant::now();
    let loaded = load(Placement::CPU)?;
    let peak_bytes = status_bytes("VmHWM:")? - before;
    println!(
        "{}",
        serde_json::json!({
            "file": file,
            "weights_bytes": weights_bytes,
            "peak_bytes": peak_bytes,
            "peak_over_weights_permille": peak_bytes * 1000 / weights_bytes,
            "resident_bytes": status_bytes("VmRSS:")? - before,
            "seconds": begun.elapsed().as_secs_f32(),
            "revision": loaded.revision,
        })
    );
    Ok(())
}

/// A line of `/proc/self/status` that counts memory, in bytes.
fn status_bytes(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .context("no such line")?;
    Ok(kib.parse::<u64>()? * 1024)
}
