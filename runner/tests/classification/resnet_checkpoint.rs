//! Every tensor and setting of a residual network's checkpoint matters, and errors name a missing
//! one.

use crate::resnet_golden::resnet;
use crate::support::golden::{TOLERANCE, changed, checkpoint, is_counter, parameters};
use crate::support::{
    add, assert_config_refused, assert_missing, assert_weights_refused, expected_tensor_in,
    largest_difference, scale, swap,
};
use fovea_runner::weights::Placement;
use serde_json::json;
use tempfile::TempDir;

/// The largest difference of the logits from transformers' for the true checkpoint.
fn distance(golden: &str, dir: &TempDir) -> f64 {
    let truth = checkpoint(golden);
    let pixel_values = expected_tensor_in(&truth, "pixel_values");
    let model = resnet(dir.path(), Placement::CPU).unwrap();
    let logits = model.logits(&pixel_values).unwrap();
    largest_difference(&logits, &expected_tensor_in(&truth, "logits"))
}

#[test]
fn dropping_any_tensor_is_an_error_that_names_it() {
    for (golden, count) in [("resnet", 117), ("resnet-basic", 72)] {
        let names = parameters(golden);
        assert_eq!(names.len(), count, "{golden}");
        for name in names {
            let dir = changed(golden, |tensors| drop(tensors.remove(&name)), &[]);
            let error = resnet(dir.path(), Placement::CPU).unwrap_err();
            assert_missing(&error, &name);
        }
    }
}

#[test]
fn every_tensor_counts_but_torchs_counters() {
    for golden in ["resnet", "resnet-basic"] {
        for name in parameters(golden) {
            let dir = changed(golden, |tensors| scale(tensors, &name, 0.5), &[]);
            let distance = distance(golden, &dir);
            assert!(distance > 10.0 * TOLERANCE, "{name}: {distance:e}");
        }
    }
    let uncounted = changed(
        "resnet",
        |tensors| tensors.retain(|name, _| !is_counter(name)),
        &[],
    );
    assert!(distance("resnet", &uncounted) < TOLERANCE);
}

#[test]
fn another_eps_and_tensors_under_one_anothers_names_change_the_answer() {
    // An eps of 1e-5 more is that much more variance.
    let eps = changed("resnet", |tensors| add(tensors, "running_var", 1e-5), &[]);
    let distance_of_eps = distance("resnet", &eps);
    println!("an eps of 2e-5: {distance_of_eps:e}");
    assert!(distance_of_eps > 10.0 * TOLERANCE, "{distance_of_eps:e}");
    for (first, second) in [
        ("normalization.running_mean", "normalization.bias"),
        ("normalization.running_var", "normalization.weight"),
        (
            "stages.1.layers.0.layer.2.norm",
            "stages.1.layers.0.shortcut.norm",
        ),
    ] {
        let dir = changed("resnet", |tensors| swap(tensors, first, second), &[]);
        let distance = distance("resnet", &dir);
        assert!(distance > 100.0 * TOLERANCE, "{first}: {distance:e}");
    }
}

#[test]
fn every_setting_counts() {
    for (golden, setting) in [
        ("resnet", ("/hidden_act", json!("gelu"))),
        ("resnet", ("/downsample_in_first_stage", json!(true))),
        ("resnet", ("/downsample_in_bottleneck", json!(true))),
        ("resnet", ("/depths", json!([1, 2, 1, 1]))),
        ("resnet-basic", ("/hidden_act", json!("relu"))),
    ] {
        let dir = changed(golden, |_| {}, std::slice::from_ref(&setting));
        let distance = distance(golden, &dir);
        println!("{setting:?}: {distance:e}");
        assert!(distance > 100.0 * TOLERANCE, "{setting:?}: {distance:e}");
    }
}

#[test]
fn a_folder_that_contradicts_itself_is_refused_with_what_is_wrong() {
    for (setting, words) in [
        (("/depths", json!([1])), "one number for each stage"),
        (("/layer_type", json!("wide")), "wide"),
        (("/num_channels", json!(4)), "num_channels"),
        (
            ("/id2label", json!({"0": "a", "7": "b"})),
            "none of index 1",
        ),
    ] {
        let dir = changed("resnet", |_| {}, std::slice::from_ref(&setting));
        assert_config_refused(&dir, words);
    }
    let setting = ("/hidden_sizes", json!([16, 24, 40, 60]));
    let dir = changed("resnet", |_| {}, &[setting]);
    assert_weights_refused(&dir, ["encoder.stages.3", "[14, 40, "]);
}
