//! ViT's results equal transformers', picture by picture.

use crate::support::golden::{BF16, TOLERANCE};
use crate::support::{assert_logits_as_alone, largest_difference, same_best, serve};
use crate::vit_golden::{checkpoint, expected, expected_tensor, pixels, vit};
use fovea_protocol::{Classification, InferResult};
use fovea_runner::inference::Item;
use fovea_runner::weights::Placement;
use tch::{Kind, Tensor};

/// Bound on the difference of scores for JPEGs, where decoders may round differently.
const JPEG_SCORE_TOLERANCE: f32 = 5e-3;

#[test]
fn hidden_states_and_logits_are_transformers_own() {
    let model = vit(&checkpoint(), Placement::CPU).unwrap();
    let pixel_values = expected_tensor("pixel_values");
    let hidden = model.last_hidden_state(&pixel_values).unwrap();
    let logits = model.logits(&pixel_values).unwrap();
    for (name, ours) in [("last_hidden_state", hidden), ("logits", logits)] {
        let difference = largest_difference(&ours, &expected_tensor(name));
        println!("{name}: {difference:e}");
        assert!(difference < TOLERANCE, "{name}: {difference:e}");
    }
}

#[test]
fn pixel_values_are_pillows_own_but_for_what_a_jpeg_decoder_may_round() {
    // From normalised values back to levels of 255.
    let std = Tensor::from_slice(&[0.27_f32, 0.23, 0.31]).reshape([3, 1, 1]);
    let golden = expected_tensor("pixel_values");
    for ((row, golden_picture), pixels) in (0i64..).zip(expected()).zip(pixels()) {
        let ours = Tensor::from_slice(pixels.values()).reshape(pixels.shape());
        let levels = (ours - golden.get(row)).abs() * 255.0 * &std;
        let most = levels.max().double_value(&[]);
        println!("{}: at most {most:.3} levels", golden_picture.file);
        let is_jpeg = golden_picture.file.contains(".jpg");
        let allowed = if is_jpeg { 2.01 } else { 0.01 };
        assert!(most < allowed, "{}: {most}", golden_picture.file);
    }
}

#[test]
fn from_a_files_bytes_to_the_top_five_all_is_as_in_transformers_pipeline() {
    let served = serve(&checkpoint()).unwrap();
    for (golden, pixels) in expected().into_iter().zip(pixels()) {
        let file = golden.file;
        let InferResult::Predictions(ours) = served.result(pixels, (1, 1)) else {
            panic!("{file}");
        };
        let labels = |predictions: &[Classification]| -> Vec<String> {
            predictions.iter().map(|best| best.label.clone()).collect()
        };
        assert_eq!(labels(&ours), labels(&golden.predictions), "{file}");
        let is_jpeg = file.contains(".jpg");
        let allowed = if is_jpeg { JPEG_SCORE_TOLERANCE } else { 1e-5 };
        for (ours, theirs) in ours.iter().zip(&golden.predictions) {
            let difference = (ours.score - theirs.score).abs();
            assert!(difference < allowed, "{file}: {difference}");
        }
    }
}

#[test]
fn a_batch_answers_what_its_pictures_answer_alone() {
    let served = serve(&checkpoint()).unwrap();
    let items: Vec<Item> = { pixels().into_iter() }
        .map(|pixels| served.item(pixels))
        .collect();
    assert_logits_as_alone(&*served.model, &items, 10 * 13, TOLERANCE);
}

/// What the README of the golden checkpoint states.
#[test]
fn in_bf16_the_best_label_mostly_stays_and_logits_move_by_hundredths() {
    let model = vit(&checkpoint(), BF16).unwrap();
    let pixel_values = expected_tensor("pixel_values").to_kind(Kind::BFloat16);
    let ours = model.logits(&pixel_values).unwrap().to_kind(Kind::Float);
    let theirs = expected_tensor("logits");
    let difference = largest_difference(&ours, &theirs);
    let same = same_best(&ours, &theirs);
    println!("bf16: logits {difference:.4} off, {same} of 10 best labels the same");
    assert!(difference < 0.1, "{difference}");
    assert!(same >= 9, "{same}");
}
