//! The golden checkpoint and transformers' results for it; see `tests/golden/blip/README.md`.

// Each test, and the bench, uses its own part of this.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "shared test code"
)]

pub(crate) mod golden;
pub(crate) mod private;
mod served;
mod tensors;

pub(crate) use served::*;
pub(crate) use tensors::*;

use fovea_runner::inference::{Answer, Item, Model};
use fovea_runner::models::blip::{Blip, BlipConfig};
use fovea_runner::weights::{Placement, Weights};
use safetensors::SafeTensors;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// The folder of the small random checkpoint.
pub(crate) fn checkpoint() -> PathBuf {
    golden::checkpoint("blip")
}

/// One of the golden pictures.
pub(crate) fn picture(file: &str) -> Vec<u8> {
    std::fs::read(checkpoint().join("pictures").join(file)).unwrap()
}

/// The configuration of a checkpoint's folder.
pub(crate) fn config(dir: &Path) -> BlipConfig {
    golden::read(dir, "config.json")
}

/// The model of a checkpoint's folder.
pub(crate) fn blip(dir: &Path) -> Blip {
    let weights = Weights::open(dir, Placement::CPU).unwrap();
    Blip::new(&config(dir), &weights, Placement::CPU).unwrap()
}

/// `expected.json`.
#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) max_new_tokens: usize,
    pub(crate) prompt: String,
    pub(crate) num_beams: usize,
    pub(crate) pictures: Vec<ExpectedPicture>,
}

/// What transformers computes for one picture.
#[derive(Deserialize)]
pub(crate) struct ExpectedPicture {
    pub(crate) file: String,
    pub(crate) greedy: ExpectedCaption,
    pub(crate) prompted: ExpectedCaption,
    pub(crate) beams: ExpectedCaption,
    pub(crate) prompted_beams: ExpectedCaption,
}

#[derive(Deserialize)]
pub(crate) struct ExpectedCaption {
    pub(crate) token_ids: Vec<i64>,
    pub(crate) caption: String,
}

pub(crate) fn expected() -> Expected {
    expected_in(&checkpoint())
}

pub(crate) fn expected_in(dir: &Path) -> Expected {
    golden::read(dir, "expected.json")
}

/// A tensor of what transformers computes, row by row for the golden pictures.
pub(crate) fn expected_tensor(name: &str) -> Tensor {
    expected_tensor_in(&checkpoint(), name)
}

/// A tensor of what transformers computes, row by row for the pictures in `dir`.
pub(crate) fn expected_tensor_in(dir: &Path, name: &str) -> Tensor {
    let bytes = std::fs::read(dir.join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    let shape: Vec<i64> = (view.shape().iter())
        .map(|&size| i64::try_from(size).unwrap())
        .collect();
    Tensor::from_data_size(view.data(), &shape, Kind::Float)
}

pub(crate) fn largest_difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    (ours - theirs).abs().max().double_value(&[])
}

/// The largest absolute difference, in parts of their largest value where that is over 1: the
/// logits of random weights at full size are in the thousands.
pub(crate) fn relative_difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    let scale = theirs.abs().max().double_value(&[]).max(1.0);
    largest_difference(ours, theirs) / scale
}

/// The logits of all items, run together.
fn logits(model: &dyn Model, items: &[Item]) -> Vec<f32> {
    let answers = model.run(items, &|_| false).unwrap();
    let rows = answers.into_iter().map(|answer| match answer {
        Answer::Logits(row) => row,
        other => panic!("{other:?}"),
    });
    rows.flatten().collect()
}

/// Asserts that a batch has `count` logits, and the same as its items have alone.
pub(crate) fn assert_logits_as_alone(
    model: &dyn Model,
    items: &[Item],
    count: usize,
    tolerance: f64,
) {
    let together = logits(model, items);
    let alone: Vec<f32> = (items.chunks(1))
        .flat_map(|item| logits(model, item))
        .collect();
    assert_eq!((together.len(), alone.len()), (count, count));
    for (together, alone) in together.iter().zip(alone) {
        assert!(f64::from((together - alone).abs()) < tolerance);
    }
}

/// The number of rows in which both have the same best label.
pub(crate) fn same_best(ours: &Tensor, theirs: &Tensor) -> i64 {
    let same = ours.argmax(1, false).eq_tensor(&theirs.argmax(1, false));
    same.to_kind(Kind::Int64).sum(Kind::Int64).int64_value(&[])
}
