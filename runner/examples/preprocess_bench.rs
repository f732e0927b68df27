//! Times preprocessing, from the bytes of a file to pixel values, on one thread.
//!
//!     cargo run --release -p fovea-runner --example preprocess_bench -- FOLDER --runs 20
//!
//! `FOLDER` holds the pictures that `python -m models.parity.bench_preprocessing FOLDER` wrote; all
//! its files are read. A run takes every picture through every processor once. The last line of the
//! output is JSON, with medians in milliseconds. With `--paced` a run starts for each line on
//! standard input, so that this program and the other can take turns.

use anyhow::Context as _;
use clap::Parser;
use fovea_runner::image::{Preprocessor, decode};
use fovea_runner::models::Family;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Memory that decoding may take, in bytes.
const MAX_DECODE_BYTES: u64 = 1 << 30;

/// Names as in the other program, each with its processor's defaults: 384 x 384, 224 x 224, and a
/// shortest edge of 800.
const PROCESSORS: [(&str, Family); 3] = [
    ("blip", Family::Blip),
    ("vit", Family::Vit),
    ("detr", Family::Detr),
];

#[derive(Parser)]
struct Arguments {
    folder: PathBuf,
    #[arg(long, default_value = "20")]
    runs: usize,
    /// Start each run on a line from standard input.
    #[arg(long)]
    paced: bool,
}

/// Milliseconds of one picture through one processor.
#[derive(Clone, Copy)]
struct Timing {
    decode: f64,
    resize_and_normalize: f64,
    whole: f64,
}

fn main() -> anyhow::Result<()> {
    let Arguments {
        folder,
        runs,
        paced,
    } = Arguments::parse();
    let mut pictures = BTreeMap::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_stem().context("no name")?.to_string_lossy();
        pictures.insert(name.into_owned(), std::fs::read(&path)?);
    }
    let processors = PROCESSORS.map(|(name, family)| {
        let path = Path::new("preprocessor_config.json");
        Preprocessor::parse("{}", path, Some(family)).map(|processor| (name, processor))
    });
    let mut timings: BTreeMap<String, Vec<Timing>> = BTreeMap::new();
    // The first one also allocates.
    for run in 0..=runs {
        if paced && run > 0 && std::io::stdin().read_line(&mut String::new())? == 0 {
            break;
        }
        let mut total = 0.0;
        for (picture, bytes) in &pictures {
            for processor in &processors {
                let (name, processor) = processor.as_ref().map_err(|e| anyhow::anyhow!("{e}"))?;
                let timing = time(bytes, processor)?;
                total += timing.whole;
                if run > 0 {
                    let key = format!("{picture} {name}");
                    timings.entry(key).or_default().push(timing);
                }
            }
        }
        if paced && run > 0 {
            println!("{}", serde_json::json!({"total_ms": round(total)}));
        }
    }
    let medians: BTreeMap<_, _> = (timings.iter())
        .map(|(key, timings)| {
            let median_of = |stage: fn(&Timing) -> f64| median(timings.iter().map(stage).collect());
            let stages = serde_json::json!({
                "median_decode_ms": median_of(|timing| timing.decode),
                "median_resize_and_normalize_ms": median_of(|timing| timing.resize_and_normalize),
                "median_whole_ms": median_of(|timing| timing.whole),
            });
            (key, stages)
        })
        .collect();
    let runs = timings.values().map(Vec::len).max();
    println!(
        "{}",
        serde_json::json!({"program": "fovea-runner", "threads": 1, "runs": runs, "pictures": medians})
    );
    Ok(())
}

fn time(bytes: &[u8], processor: &Preprocessor) -> anyhow::Result<Timing> {
    let begun = Instant::now();
    let picture = decode(bytes, MAX_DECODE_BYTES)?;
    let decode = ms(begun);
    let pixels = processor.pixel_values(&picture)?;
    let whole = ms(begun);
    drop(pixels);
    Ok(Timing {
        decode,
        resize_and_normalize: whole - decode,
        whole,
    })
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

/// To a hundredth.
fn round(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len() / 2)
        .copied()
        .map_or(f64::NAN, round)
}
