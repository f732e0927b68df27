//! DETR's results equal transformers', picture by picture.

use crate::golden::detr;
use crate::support::golden::{BF16, TOLERANCE, checkpoint, expected_of, pixels, read};
use crate::support::{Served, expected_tensor_in, largest_difference, serve};
use fovea_protocol::{BoundingBox, Detection, InferResult};
use fovea_runner::image::ImageProcessor;
use fovea_runner::inference::{Answer, Item, Object};
use fovea_runner::models::detr::Predictions;
use fovea_runner::weights::Placement;
use serde::Deserialize;
use tch::{Kind, Tensor};

/// Bound on the difference of box edges, in pixels of the upright picture.
const BOX_TOLERANCE: f32 = 0.5;
/// Bound on the difference of scores.
const SCORE_TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    pictures: Vec<ExpectedPicture>,
}

#[derive(Deserialize)]
struct ExpectedPicture {
    file: String,
    detections: Vec<Detection>,
}

fn expected(golden: &str) -> Vec<ExpectedPicture> {
    read::<Expected>(&checkpoint(golden), "expected.json").pictures
}

/// The image processor's output; it is the same for both checkpoints.
fn golden_pixels(row: usize) -> Tensor {
    expected_of(&checkpoint("detr"), "pixel_values", row)
}

fn edges(edges: &BoundingBox) -> [f32; 4] {
    [edges.xmin, edges.ymin, edges.xmax, edges.ymax]
}

#[test]
fn feature_maps_logits_and_boxes_are_transformers_own_by_either_backbone() {
    for golden in ["detr", "detr-timm"] {
        let dir = checkpoint(golden);
        let model = detr(&dir, Placement::CPU).unwrap();
        let row_of =
            |name, row| expected_tensor_in(&dir, name).narrow(0, i64::try_from(row).unwrap(), 1);
        for (row, picture) in expected(golden).iter().enumerate() {
            let features = model.backbone().forward(&golden_pixels(row)).unwrap();
            let predictions = model.forward(&golden_pixels(row)).unwrap();
            for (name, ours, theirs) in [
                ("features", features, expected_of(&dir, "features", row)),
                ("logits", predictions.logits, row_of("logits", row)),
                ("boxes", predictions.boxes, row_of("pred_boxes", row)),
            ] {
                let difference = largest_difference(&ours, &theirs);
                println!("{golden}, {}, {name}: {difference:e}", picture.file);
                assert!(difference < TOLERANCE, "{golden} {name}: {difference:e}");
            }
        }
    }
}

#[test]
fn from_a_files_bytes_to_boxes_all_is_as_transformers_post_processes_it() {
    let dir = checkpoint("detr");
    let served = serve(&dir).unwrap();
    for picture in expected("detr") {
        let file = &picture.file;
        let pixels = pixels(&dir, ImageProcessor::Detr, file);
        let size = pixels.picture_size();
        let InferResult::Detections(ours) = served.result(pixels, size) else {
            panic!("{file}");
        };
        let labels = |detections: &[Detection]| -> Vec<String> {
            detections.iter().map(|one| one.label.clone()).collect()
        };
        assert_eq!(labels(&ours), labels(&picture.detections), "{file}");
        for (ours, theirs) in ours.iter().zip(&picture.detections) {
            let score = (ours.score - theirs.score).abs();
            let edges = [&ours.bounding_box, &theirs.bounding_box].map(edges);
            let moved = edges[0]
                .iter()
                .zip(edges[1])
                .map(|(ours, theirs)| (ours - theirs).abs());
            let moved = moved.fold(0.0, f32::max);
            println!("{file}: {} off by {score:.5}, {moved:.4} px", ours.label);
            assert!(score < SCORE_TOLERANCE, "{file}: {score}");
            assert!(moved < BOX_TOLERANCE, "{file}: {moved}");
        }
    }
}

fn items(served: &Served, files: [&str; 3]) -> [Item; 3] {
    files.map(|file| served.item(pixels(&checkpoint("detr"), ImageProcessor::Detr, file)))
}

#[test]
fn a_batch_has_the_objects_of_its_pictures_alone() {
    let served = serve(&checkpoint("detr")).unwrap();
    let objects = |items: &[Item]| -> Vec<Object> {
        let answers = served.run(items).unwrap();
        let rows = answers.into_iter().map(|answer| match answer {
            Answer::Objects(objects) => objects,
            other => panic!("{other:?}"),
        });
        rows.flatten().collect()
    };
    let items = items(&served, ["rgb-420.jpg", "rgba.png", "rgb-420.jpg"]);
    let together = objects(&items);
    let alone: Vec<Object> = items.chunks(1).flat_map(objects).collect();
    assert_eq!((together.len(), alone.len()), (3 * 7, 3 * 7));
    for (together, alone) in together.iter().zip(&alone) {
        assert_eq!(together.label, alone.label);
        let numbers = |one: &Object| [&[one.score], &one.corners[..]].concat();
        for (together, alone) in numbers(together).iter().zip(numbers(alone)) {
            assert!(f64::from((together - alone).abs()) < TOLERANCE);
        }
    }
    assert_ne!(alone[..7], alone[7..14]);
}

#[test]
fn pictures_of_one_size_share_a_pass_and_those_of_others_do_not() {
    let served = serve(&checkpoint("detr")).unwrap();
    let items = items(&served, ["rgb-420.jpg", "rgba.png", "gray.png"]);
    let keys = items.map(|item| served.front.batch_key(&item));
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
}

/// What the README of the golden checkpoint states.
#[test]
fn in_bf16_most_objects_are_the_same() {
    let dir = checkpoint("detr");
    let [whole, half] = [Placement::CPU, BF16].map(|placement| detr(&dir, placement).unwrap());
    let (mut same, mut all, mut moved) = (0, 0, 0.0_f32);
    for row in 0..expected("detr").len() {
        let pixels = golden_pixels(row);
        let objects = |predictions: Predictions| predictions.objects().unwrap();
        let whole = objects(whole.forward(&pixels).unwrap());
        let half = objects(half.forward(&pixels.to_kind(Kind::BFloat16)).unwrap());
        for (whole, half) in whole[0].iter().zip(&half[0]) {
            all += 1;
            same += usize::from(whole.label == half.label);
            for (whole, half) in whole.corners.iter().zip(half.corners) {
                moved = moved.max((whole - half).abs());
            }
        }
    }
    println!("bf16: {same} of {all} queries' labels the same, boxes move by up to {moved:.4}");
    assert!(same * 10 >= all * 9, "{same} of {all}");
}
