//! Compares a BLIP checkpoint with transformers' results, and its encoder against the fastest
//! matrix products of this machine.

use crate::stopwatch::{Stopwatch, median};
use crate::support::{Expected, config, expected_in, expected_tensor_in, relative_difference};
use anyhow::ensure;
use fovea_runner::models::blip::CaptionTokenizer;
use fovea_runner::models::blip::{Blip, BlipConfig, VisionConfig};
use fovea_runner::models::nn::Linear;
use fovea_runner::weights::{Placement, Weights};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// Bound on the difference of logits and hidden states in 32 bits, relative to the largest value.
const TOLERANCE: f64 = 1e-4;

const RUNS: usize = 15;

/// Differences and speeds; an error where 32-bit floats give another answer than transformers.
pub(crate) fn check(folder: &Path, placement: Placement) -> anyhow::Result<serde_json::Value> {
    let config = config(folder);
    let weights = Weights::open(folder, placement)?;
    let model = Blip::new(&config, &weights, placement)?;
    let expected = expected_in(folder);
    let pixel_values = expected_tensor_in(folder, "pixel_values").to_device(placement.device);
    let stages = stages(&model, &config, folder, &pixel_values, placement)?;
    let (identical, total) = captions(&model, &config, folder, &expected, &pixel_values)?;
    if placement.kind == Kind::Float {
        let within = stages.values().all(|&difference| difference < TOLERANCE);
        ensure!(within, "{stages:?}");
        ensure!(identical == total, "{identical} of {total} captions");
    }
    let speed = encoder_speed(&model, &config.vision_config, &pixel_values, placement)?;
    Ok(json!({
        "relative_differences": stages,
        "identical_captions": format!("{identical} of {total}"),
        "encoder": speed,
    }))
}

/// Largest relative differences of the encoder's and of the decoder's first step.
fn stages(
    model: &Blip,
    config: &BlipConfig,
    folder: &Path,
    pixel_values: &Tensor,
    placement: Placement,
) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let golden_hidden = expected_tensor_in(folder, "last_hidden_state");
    let golden_logits = expected_tensor_in(folder, "first_step_logits");
    let input = |tensor: &Tensor| {
        (tensor.f_to_device(placement.device)).and_then(|tensor| tensor.f_to_kind(placement.kind))
    };
    let output = |tensor: Tensor| tensor.to_device(tch::Device::Cpu).to_kind(Kind::Float);
    let hidden = model.vision().forward(&input(pixel_values)?)?;
    let mut cache = model.decoder().begin(&input(&golden_hidden)?, 1)?;
    let rows = golden_hidden.size()[0];
    let bos = Tensor::from_slice(&[config.text_config.bos_token_id])
        .to_device(placement.device)
        .expand([rows, 1], false);
    let logits = model.decoder().forward(&bos, &mut cache)?;
    let hidden = relative_difference(&output(hidden), &golden_hidden);
    let logits = relative_difference(&output(logits), &golden_logits);
    Ok(BTreeMap::from([
        ("last_hidden_state", hidden),
        ("first_step_logits", logits),
    ]))
}

/// How many captions are transformers' own, of how many.
fn captions(
    model: &Blip,
    config: &BlipConfig,
    folder: &Path,
    expected: &Expected,
    pixel_values: &Tensor,
) -> anyhow::Result<(usize, usize)> {
    let tokenizer = CaptionTokenizer::open(folder)?;
    let prompt = (tokenizer.encode(&expected.prompt)).map_err(anyhow::Error::from_boxed)?;
    let bound = Some(expected.max_new_tokens);
    let (mut identical, mut total) = (0, 0);
    for (row, golden) in (0i64..).zip(&expected.pictures) {
        let pixels = pixel_values.narrow(0, row, 1);
        for (prompt, beams, caption) in [
            (&[][..], 1, &golden.greedy),
            (&prompt, 1, &golden.prompted),
            (&[], expected.num_beams, &golden.beams),
            (&prompt, expected.num_beams, &golden.prompted_beams),
        ] {
            let query = config.text_config.caption_query(prompt, bound, beams)?;
            let ours = model.generate(&pixels, &[&query], &|_| false)?;
            identical += usize::from(ours[0] == caption.token_ids);
            total += 1;
        }
    }
    Ok((identical, total))
}

/// The encoder's time for a picture, and its share of what the machine's matrix products reach on
/// the shapes that the encoder has.
fn encoder_speed(
    model: &Blip,
    config: &VisionConfig,
    pixel_values: &Tensor,
    placement: Placement,
) -> anyhow::Result<serde_json::Value> {
    let pixels = pixel_values.narrow(0, 0, 1).f_to_kind(placement.kind)?;
    let encoder_ms = timed(|| Ok(model.vision().forward(&pixels)?))?;

    let (rows, width) = (config.positions(), config.hidden_size);
    let wide = config.intermediate_size;
    let (mut multiplied, mut ours_ms, mut librarys_ms) = (0.0, 0.0, 0.0);
    for (input, output) in [
        (width, 3 * width),
        (width, width),
        (width, wide),
        (wide, width),
    ] {
        let random = |shape: &[i64]| Tensor::f_randn(shape, (placement.kind, placement.device));
        let (xs, weight) = (random(&[rows, input])?, random(&[output, input])?);
        let bias = random(&[output])?;
        librarys_ms += timed(|| Ok(xs.f_linear(&weight, Some(&bias))?))?;
        let layer = Linear::from_tensors(weight, bias);
        ours_ms += timed(|| Ok(layer.forward(&xs)?))?;
        multiplied += products(rows, input, output);
    }
    let attention = 2.0 * products(rows, width, rows);
    let patches = products(rows - 1, 3 * config.patch_size * config.patch_size, width);
    #[expect(clippy::cast_precision_loss, reason = "a few layers")]
    let whole = (multiplied + attention) * config.num_hidden_layers as f64 + patches;
    let limit = multiplied / ours_ms.min(librarys_ms) / 1e6;
    let reached = whole / encoder_ms / 1e6;
    Ok(json!({
        "milliseconds": encoder_ms,
        "gigaflops": reached.round(),
        "matrix_limit_gigaflops": limit.round(),
        "libtorchs_own_linear_gigaflops": (multiplied / librarys_ms / 1e6).round(),
        "share_of_limit": (reached / limit * 100.0).round() / 100.0,
    }))
}

/// Multiplications and additions of a matrix product.
#[expect(clippy::cast_precision_loss, reason = "a speed to three digits")]
fn products(rows: i64, input: i64, output: i64) -> f64 {
    2.0 * rows as f64 * input as f64 * output as f64
}

/// The median time, in milliseconds; a GPU is waited for.
fn timed(run: impl Fn() -> anyhow::Result<Tensor>) -> anyhow::Result<f64> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..=RUNS {
        let begun = Stopwatch::start();
        let _waited = run()?.flatten(0, -1).double_value(&[0]);
        times.push(begun.wall_ms());
    }
    // The first one also sets things up.
    Ok(median(times.split_off(1)))
}
