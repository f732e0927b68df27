//! The residual network's results equal transformers', picture by picture.

use crate::resnet_golden::{resnet, resnet_for};
use crate::support::golden::{BF16, TOLERANCE, checkpoint, expected_labels, pixels};
use crate::support::{
    assert_logits_as_alone, expected_tensor_in, largest_difference, same_best, serve,
};
use fovea_protocol::InferResult;
use fovea_runner::image::ImageProcessor;
use fovea_runner::inference::Item;
use fovea_runner::weights::Placement;
use tch::Kind;

/// Bound on a score's difference.
const SCORE_TOLERANCE: f32 = 1e-5;

/// Blocks of three convolutions and of two.
const GOLDEN: [&str; 2] = ["resnet", "resnet-basic"];

#[test]
fn feature_maps_and_logits_are_transformers_own_also_where_laid_out_for_a_size() {
    for golden in GOLDEN {
        let dir = checkpoint(golden);
        let pixel_values = expected_tensor_in(&dir, "pixel_values");
        for laid_out_for in [None, Some([40, 40]), Some([224, 224])] {
            let model = resnet_for(&dir, laid_out_for, Placement::CPU).unwrap();
            let features = model.backbone().forward(&pixel_values).unwrap();
            let logits = model.logits(&pixel_values).unwrap();
            for (name, ours) in [("last_hidden_state", features), ("logits", logits)] {
                let difference = largest_difference(&ours, &expected_tensor_in(&dir, name));
                println!("{golden}, for {laid_out_for:?}, {name}: {difference:e}");
                assert!(difference < TOLERANCE, "{golden} {name}: {difference:e}");
            }
        }
    }
}

#[test]
fn from_a_files_bytes_to_the_top_five_all_is_as_in_transformers_pipeline() {
    for golden in GOLDEN {
        let dir = checkpoint(golden);
        let served = serve(&dir).unwrap();
        for picture in expected_labels(&dir) {
            let file = &picture.file;
            let pixels = pixels(&dir, ImageProcessor::ConvNext, file);
            let InferResult::Predictions(ours) = served.result(pixels, (1, 1)) else {
                panic!("{golden} {file}");
            };
            assert_eq!(ours.len(), picture.predictions.len());
            for (ours, theirs) in ours.iter().zip(&picture.predictions) {
                assert_eq!(ours.label, theirs.label, "{golden} {file}");
                let difference = (ours.score - theirs.score).abs();
                let close = difference < SCORE_TOLERANCE;
                assert!(close, "{golden} {file}: {difference}");
            }
        }
    }
}

#[test]
fn a_batch_answers_what_its_pictures_answer_alone() {
    let dir = checkpoint("resnet");
    let served = serve(&dir).unwrap();
    let items: Vec<Item> = (expected_labels(&dir).iter())
        .map(|picture| served.item(pixels(&dir, ImageProcessor::ConvNext, &picture.file)))
        .collect();
    assert_logits_as_alone(&*served.model, &items, 10 * 13, TOLERANCE);
}

/// What the README of the golden checkpoint states.
#[test]
fn in_bf16_the_best_label_mostly_stays() {
    let dir = checkpoint("resnet");
    let model = resnet(&dir, BF16).unwrap();
    let pixel_values = expected_tensor_in(&dir, "pixel_values").to_kind(Kind::BFloat16);
    let ours = model.logits(&pixel_values).unwrap().to_kind(Kind::Float);
    let theirs = expected_tensor_in(&dir, "logits");
    let difference = largest_difference(&ours, &theirs);
    let same = same_best(&ours, &theirs);
    println!("bf16: logits {difference:.4} off, {same} of 10 best labels the same");
    assert!(difference < 0.5, "{difference}");
    assert!(same >= 9, "{same}");
}
