//! Times a checkpoint's folder from the bytes of picture files to results, as the engine runs it:
//! preprocessing on one thread, one pass for the batch, results in words.
//!
//!     cargo run --release -p fovea-runner --example bench -- FOLDER --batch 8 --threads 2
//!
//! The pictures are those in `FOLDER/pictures`, in the order of their names, over and over. With
//! `--paced` the first line of the output is JSON with the results, and then a run starts for each
//! line on standard input and its times are printed at once: so this program and
//! `models.parity.bench_transformers` can take turns (`models.parity.bench` makes them). The last
//! line of the output is JSON with medians. Times are in milliseconds.
//!
//! `--padding` instead times batches of mixed sizes, padded to one, against a pass for each size.
//!
//! `--check` instead compares a BLIP, stage by stage, with what `models.parity.full_size_blip` laid
//! down beside it, and its encoder's speed with the machine's limit.

#[path = "../../tests/support/mod.rs"]
mod support;

mod blip;
mod padding;
mod stopwatch;

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;
use fovea_protocol::{InferResult, Parameters};
use fovea_runner::image::PixelValues;
use fovea_runner::inference::{Answer, BatchKey, Item, Model, ModelFront, Query};
use fovea_runner::models::nn::Linear;
use fovea_runner::models::open;
use fovea_runner::weights::Placement;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stopwatch::{Stopwatch, median, ratio, status_bytes};
use tch::{Device, Kind, Tensor};
use tikv_jemallocator::Jemalloc;

/// The runner's own allocator.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Memory that decoding may take, in bytes.
const MAX_DECODE_BYTES: u64 = 1 << 30;

#[derive(Parser)]
struct Arguments {
    folder: PathBuf,
    /// Number of pictures in one pass.
    #[arg(long, default_value = "1")]
    batch: usize,
    #[arg(long, default_value = "10")]
    runs: usize,
    #[arg(long, default_value = "2")]
    threads: i32,
    /// Sequences that a captioning model follows at once.
    #[arg(long)]
    beams: Option<u32>,
    #[arg(long, default_value = "float32")]
    dtype: Dtype,
    #[arg(long, default_value = "cpu")]
    device: Processor,
    /// Start each run on a line from standard input.
    #[arg(long)]
    paced: bool,
    /// Compare with transformers and the machine, stage by stage.
    #[arg(long)]
    check: bool,
    /// Time a batch of mixed sizes, padded and not.
    #[arg(long)]
    padding: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Dtype {
    Float32,
    Bfloat16,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Processor {
    Cpu,
    /// The first GPU.
    Cuda,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tch::set_num_threads(arguments.threads);
    let _no_grad = tch::no_grad_guard();
    let placement = Placement {
        device: match arguments.device {
            Processor::Cpu => Device::Cpu,
            Processor::Cuda => Device::Cuda(0),
        },
        kind: match arguments.dtype {
            Dtype::Float32 => Kind::Float,
            Dtype::Bfloat16 => Kind::BFloat16,
        },
    };
    let last_line = if arguments.check {
        blip::check(&arguments.folder, placement)?
    } else {
        time(&arguments, placement)?
    };
    println!("{last_line}");
    Ok(())
}

fn time(arguments: &Arguments, placement: Placement) -> anyhow::Result<serde_json::Value> {
    let Arguments {
        folder,
        batch,
        runs,
        threads,
        beams,
        paced,
        padding,
        ..
    } = arguments;
    // What libtorch itself takes when it first computes is not the model's.
    let empty = |shape: &[i64]| Tensor::f_zeros(shape, (placement.kind, placement.device));
    drop(Linear::from_tensors(empty(&[16, 16])?, empty(&[16])?));
    let weights_bytes = std::fs::metadata(folder.join("model.safetensors"))?.len();
    let before = status_bytes("VmRSS")?;
    let begun = Stopwatch::start();
    let (front, loader) = open(folder)?;
    let model = loader(placement)?.model;
    let load_ms = begun.wall_ms();
    let load_peak = ratio(status_bytes("VmHWM")? - before, weights_bytes);
    let subject = Subject {
        front,
        model,
        files: files(folder, *batch)?,
        parameters: Parameters {
            num_beams: *beams,
            ..Parameters::default()
        },
    };

    if *padding {
        return padding::compare(subject.model.as_ref(), subject.items()?, *runs);
    }
    // The first pass also sets up threads and caches.
    let (_, results) = subject.run()?;
    if *paced {
        println!("{}", json!({"results": results}));
    }
    let mut timings = Vec::new();
    for _ in 0..*runs {
        if *paced && std::io::stdin().read_line(&mut String::new())? == 0 {
            break;
        }
        let (run, _) = subject.run()?;
        if *paced {
            println!("{}", run.json());
        }
        timings.push(run);
    }
    let median_of = |stage: fn(&Run) -> f64| median(timings.iter().map(stage).collect());
    Ok(json!({
        "program": "fovea-runner",
        "threads": threads,
        "batch": batch,
        "runs": timings.len(),
        "median_preprocess_ms": median_of(|run| run.preprocess),
        "median_model_ms": median_of(|run| run.model),
        "median_total_ms": median_of(|run| run.total),
        "median_cpu_ms": median_of(|run| run.cpu),
        "load_ms": load_ms,
        "load_peak_over_weights": load_peak,
        "peak_bytes": status_bytes("VmHWM")? - before,
    }))
}

/// A batch from the folder's pictures.
fn files(folder: &Path, batch: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let pictures = folder.join("pictures");
    let mut paths = std::fs::read_dir(&pictures)
        .with_context(|| format!("no pictures in {}", pictures.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "no pictures in {}", pictures.display());
    (paths.iter().cycle().take(batch))
        .map(|path| Ok(std::fs::read(path)?))
        .collect()
}

struct Subject {
    front: Arc<ModelFront>,
    model: Box<dyn Model>,
    files: Vec<Vec<u8>>,
    parameters: Parameters,
}

/// One timed pass, in milliseconds.
struct Run {
    preprocess: f64,
    /// From the pixel values on.
    model: f64,
    total: f64,
    /// What all threads together computed.
    cpu: f64,
}

impl Run {
    fn json(&self) -> serde_json::Value {
        json!({
            "preprocess_ms": self.preprocess,
            "model_ms": self.model,
            "total_ms": self.total,
            "cpu_ms": self.cpu,
        })
    }
}

impl Subject {
    fn run(&self) -> anyhow::Result<(Run, Vec<InferResult>)> {
        let query =
            (self.front.head.query(&self.parameters)).map_err(|problem| anyhow!("{problem:?}"))?;
        let begun = Stopwatch::start();
        let (sizes, items): (Vec<_>, Vec<_>) = (self.files.iter())
            .map(|file| self.item(file, &query))
            .collect::<anyhow::Result<Vec<_>>>()?
            .into_iter()
            .unzip();
        let preprocess = begun.wall_ms();
        let results = (self.answers(items)?.into_iter().zip(sizes))
            .map(|(answer, size)| self.front.head.result(&query, answer, size))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|problem| anyhow!("{problem:?}"))?;
        let total = begun.wall_ms();
        let run = Run {
            preprocess,
            model: total - preprocess,
            total,
            cpu: begun.cpu_ms(),
        };
        Ok((run, results))
    }

    /// In passes of what may share one, as the engine makes them; answers in the inputs' order.
    fn answers(&self, items: Vec<Item>) -> anyhow::Result<Vec<Answer>> {
        let mut passes: Vec<(BatchKey, Vec<usize>, Vec<Item>)> = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            let key = self.front.batch_key(&item);
            match passes.iter_mut().find(|(other, ..)| *other == key) {
                Some((_, places, pass)) => {
                    places.push(place);
                    pass.push(item);
                }
                None => passes.push((key, vec![place], vec![item])),
            }
        }
        let mut answers = BTreeMap::new();
        for (_, places, pass) in passes {
            answers.extend(places.into_iter().zip(self.model.run(&pass, &|_| false)?));
        }
        Ok(answers.into_values().collect())
    }

    fn items(&self) -> anyhow::Result<Vec<Item>> {
        let query =
            (self.front.head.query(&self.parameters)).map_err(|problem| anyhow!("{problem:?}"))?;
        (self.files.iter())
            .map(|file| Ok(self.item(file, &query)?.1))
            .collect()
    }

    /// An input, and its picture's size.
    fn item(&self, file: &[u8], query: &Query) -> anyhow::Result<((u32, u32), Item)> {
        let pixels: PixelValues = self.front.preprocessor.run(file, MAX_DECODE_BYTES)?;
        let size = pixels.picture_size();
        let query = query.clone();
        Ok((size, Item { pixels, query }))
    }
}
