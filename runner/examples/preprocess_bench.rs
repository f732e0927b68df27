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
use fovea_runner::image::{ImageProcessor, Preprocessor, decode};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tikv_jemallocator::Jemalloc;

/// The runner's own allocator.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Memory that decoding may take, in bytes.
const MAX_DECODE_BYTES: u64 = 1 << 30;

/// Names as in the other program, each with its processor's defaults: 384 x 384, 224 x 224, and a
/// shortest edge of 800.
const PROCESSORS: [(&str, ImageProcessor); 3] = [
    ("blip", ImageProcessor::Blip),
    ("vit", ImageProcessor::Vit),
    ("detr", ImageProcessor::Detr),
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

/// Milliseconds of each stage of each picture and processor: `vga blip whole`.
type Timings = BTreeMap<String, f64>;

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
    let path = Path::new("preprocessor_config.json");
    let processors = (PROCESSORS.iter())
        .map(|&(name, processor)| Ok((name, Preprocessor::parse("{}", path, Some(processor))?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // The first one also allocates.
    run(&pictures, &processors)?;
    if paced {
        println!("{}", json!({"results": []}));
    }
    let mut turns = Vec::new();
    for _ in 0..runs {
        if paced && std::io::stdin().read_line(&mut String::new())? == 0 {
            break;
        }
        let timings = run(&pictures, &processors)?;
        if paced {
            println!("{}", json!(timings));
        }
        turns.push(timings);
    }
    let stages: Vec<&String> = turns
        .first()
        .map_or_else(Vec::new, |turn| turn.keys().collect());
    let medians: Timings = (stages.into_iter())
        .map(|stage| {
            let times = turns.iter().map(|turn| turn[stage]).collect();
            (stage.clone(), median(times))
        })
        .collect();
    println!(
        "{}",
        json!({"program": "fovea-runner", "threads": 1, "runs": turns.len(), "median_ms": medians})
    );
    Ok(())
}

fn run(
    pictures: &BTreeMap<String, Vec<u8>>,
    processors: &[(&str, Preprocessor)],
) -> anyhow::Result<Timings> {
    let mut timings = Timings::new();
    for (picture, bytes) in pictures {
        for (name, processor) in processors {
            let begun = Instant::now();
            let decoded = decode(bytes, MAX_DECODE_BYTES)?;
            let decode_ms = ms(begun);
            let pixels = processor.pixel_values(&decoded)?;
            let whole_ms = ms(begun);
            drop(pixels);
            for (stage, time) in [
                ("decode", decode_ms),
                ("resize_and_normalize", whole_ms - decode_ms),
                ("whole", whole_ms),
            ] {
                timings.insert(format!("{picture} {name} {stage}"), round(time));
            }
        }
    }
    Ok(timings)
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

/// Rounds to a thousandth of a millisecond.
fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len() / 2)
        .copied()
        .map_or(f64::NAN, round)
}
