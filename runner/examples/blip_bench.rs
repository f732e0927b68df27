//! Checks a BLIP checkpoint against what transformers made of it, and times a caption from the
//! bytes of a file to the text: batch 1, fp32, greedy.
//!
//!     cargo run --release -p fovea-runner --example blip_bench -- FOLDER --runs 10 --threads 2
//!
//! `FOLDER` is one that `python -m models.parity.full_size` wrote. The last line of the output is
//! JSON, with medians in milliseconds. With `--paced` a run starts for each line on standard
//! input, so that this program and `models.parity.bench_transformers` can take turns.

#[path = "../tests/support/mod.rs"]
mod support;

use anyhow::{Context as _, ensure};
use clap::Parser;
use fovea_runner::image::{PixelValues, Preprocessor};
use fovea_runner::models::Family;
use fovea_runner::models::blip::{Blip, CaptionAsk, TextConfig};
use fovea_runner::tasks::CaptionTokenizer;
use std::path::{Path, PathBuf};
use std::time::Instant;
use support::{Expected, expected_in, expected_tensor_in, relative_difference};
use tch::Tensor;

/// Logits and hidden states may differ by so much, in parts of their largest value.
const TOLERANCE: f64 = 1e-4;

/// Memory that decoding may take, in bytes.
const MAX_DECODE_BYTES: u64 = 1 << 30;

#[derive(Parser)]
struct Arguments {
    folder: PathBuf,
    #[arg(long, default_value = "10")]
    runs: usize,
    #[arg(long, default_value = "2")]
    threads: i32,
    /// Start each run on a line from standard input.
    #[arg(long)]
    paced: bool,
}

fn main() -> anyhow::Result<()> {
    let Arguments {
        folder,
        runs,
        threads,
        paced,
    } = Arguments::parse();
    tch::set_num_threads(threads);
    let _no_grad = tch::no_grad_guard();
    let weights_bytes = std::fs::metadata(folder.join("model.safetensors"))?.len();
    let before = status_bytes("VmRSS")?;
    let begun = Instant::now();
    let model = support::blip(&folder);
    let load_ms = ms(begun);
    let load_peak = ratio(status_bytes("VmHWM")? - before, weights_bytes);

    let captioner = Captioner {
        model,
        preprocessor: Preprocessor::open(&folder, Family::Blip)?,
        tokenizer: CaptionTokenizer::open(&folder)?,
        text_config: support::config(&folder).text_config,
    };
    let expected = expected_in(&folder);
    let parity = captioner.parity(&folder, &expected)?;

    let file = &expected.pictures.first().context("no picture")?.file;
    let bytes = std::fs::read(folder.join("pictures").join(file))?;
    captioner.run(&bytes, expected.max_new_tokens)?;
    let mut timings = Vec::new();
    for _ in 0..runs {
        if paced && std::io::stdin().read_line(&mut String::new())? == 0 {
            break;
        }
        let run = captioner.run(&bytes, expected.max_new_tokens)?;
        if paced {
            println!("{}", serde_json::json!({"total_ms": run.total}));
        }
        timings.push(run);
    }
    let median_of = |stage: fn(&Run) -> f64| median(timings.iter().map(stage).collect());
    println!(
        "{}",
        serde_json::json!({
            "program": "fovea-runner",
            "threads": threads,
            "tokens": expected.max_new_tokens,
            "runs": timings.len(),
            "median_preprocess_ms": median_of(|run| run.preprocess),
            "median_encoder_ms": median_of(|run| run.encoder),
            "median_generate_ms": median_of(|run| run.generate),
            "median_total_ms": median_of(|run| run.total),
            "total_ms": timings.iter().map(|run| run.total).collect::<Vec<_>>(),
            "load_ms": load_ms,
            "load_peak_over_weights": load_peak,
            "parity": parity,
        })
    );
    Ok(())
}

struct Captioner {
    model: Blip,
    preprocessor: Preprocessor,
    tokenizer: CaptionTokenizer,
    text_config: TextConfig,
}

/// One timed caption, in milliseconds. The encoder is timed in a pass of its own, outside of the total.
struct Run {
    preprocess: f64,
    generate: f64,
    total: f64,
    encoder: f64,
}

impl Captioner {
    fn preprocess(&self, bytes: &[u8]) -> anyhow::Result<Tensor> {
        let pixels: PixelValues = self.preprocessor.run(bytes, MAX_DECODE_BYTES)?;
        Ok(Tensor::from_slice(pixels.values())
            .reshape(pixels.shape())
            .unsqueeze(0))
    }

    fn run(&self, bytes: &[u8], max_new_tokens: usize) -> anyhow::Result<Run> {
        let ask = CaptionAsk::new(&self.text_config, &[], Some(max_new_tokens))?;
        let begun = Instant::now();
        let pixel_values = self.preprocess(bytes)?;
        let preprocess = ms(begun);
        let generated = self.model.generate(&pixel_values, &[&ask], &|_| false)?;
        let words = self.tokenizer.decode(&generated[0].tokens);
        let total = ms(begun);
        words.map_err(anyhow::Error::from_boxed)?;
        let begun = Instant::now();
        let _image_embeds = self.model.vision().forward(&pixel_values)?;
        Ok(Run {
            preprocess,
            generate: total - preprocess,
            total,
            encoder: ms(begun),
        })
    }

    /// Largest relative differences from transformers; token ids are identical, or this is an error.
    fn parity(&self, folder: &Path, expected: &Expected) -> anyhow::Result<serde_json::Value> {
        let golden_pixels = expected_tensor_in(folder, "pixel_values");
        let hidden = expected_tensor_in(folder, "last_hidden_state");
        let ours = self.model.vision().forward(&golden_pixels)?;
        let hidden_difference = relative_difference(&ours, &hidden);
        let rows = hidden.size()[0];
        let mut cache = self.model.decoder().begin(&hidden, 1)?;
        let bos = Tensor::from_slice(&[self.text_config.bos_token_id]).expand([rows, 1], false);
        let logits = self.model.decoder().forward(&bos, &mut cache)?;
        let logits_difference =
            relative_difference(&logits, &expected_tensor_in(folder, "first_step_logits"));
        ensure!(
            hidden_difference < TOLERANCE && logits_difference < TOLERANCE,
            "hidden state {hidden_difference:e} and logits {logits_difference:e} off"
        );
        let prompt = self
            .tokenizer
            .encode(&expected.prompt)
            .map_err(anyhow::Error::from_boxed)?;
        let mut captions = 0;
        for (row, golden) in (0i64..).zip(&expected.pictures) {
            for (prompt, caption) in [(&[][..], &golden.greedy), (&prompt, &golden.prompted)] {
                let ask =
                    CaptionAsk::new(&self.text_config, prompt, Some(expected.max_new_tokens))?;
                let pixels = golden_pixels.narrow(0, row, 1);
                let ours = self.model.generate(&pixels, &[&ask], &|_| false)?;
                ensure!(
                    ours[0].tokens == caption.token_ids,
                    "{}: {:?}",
                    golden.file,
                    ours[0]
                );
                captions += 1;
            }
        }
        Ok(serde_json::json!({
            "last_hidden_state": hidden_difference,
            "first_step_logits": logits_difference,
            "identical_captions": captions,
        }))
    }
}

/// Milliseconds since `begun`, to a tenth.
fn ms(begun: Instant) -> f64 {
    (begun.elapsed().as_secs_f64() * 1e4).round() / 10.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// To a hundredth.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn ratio(of: u64, to: u64) -> f64 {
    (of as f64 / to as f64 * 100.0).round() / 100.0
}

/// A line of `/proc/self/status` that counts memory.
fn status_bytes(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no such line")?;
    Ok(kib.parse::<u64>()? * 1024)
}
