//! Every tensor and setting of a ViT checkpoint matters, and errors name a missing one.

use crate::support::golden::{self, TOLERANCE};
use crate::support::{
    Tensors, assert_config_refused, assert_missing, assert_weights_refused, largest_difference,
    read_tensors, rename, scale, swap, zero,
};
use crate::vit_golden::{checkpoint, expected_tensor, vit};
use fovea_runner::models::vit::Vit;
use fovea_runner::weights::{Placement, WeightsError};
use serde_json::{Value, json};
use tch::Tensor;
use tempfile::TempDir;

/// The golden checkpoint with other tensors and other settings.
fn changed(change: impl FnOnce(&mut Tensors), settings: &[(&str, Value)]) -> TempDir {
    golden::changed("vit", change, settings)
}

fn load(dir: &TempDir) -> Result<Vit, WeightsError> {
    vit(dir.path(), Placement::CPU)
}

fn logits(dir: &TempDir) -> Tensor {
    let model = load(dir).unwrap();
    model.logits(&expected_tensor("pixel_values")).unwrap()
}

/// The largest difference of the logits from transformers' for the true checkpoint.
fn distance(dir: &TempDir) -> f64 {
    largest_difference(&logits(dir), &expected_tensor("logits"))
}

/// The name in a state dict of transformers 5.
fn of_today(name: &str) -> String {
    [
        ("encoder.layer.", "layers."),
        ("attention.attention.query", "attention.q_proj"),
        ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    ]
    .iter()
    .fold(name.to_owned(), |name, (old, new)| name.replace(old, new))
}

#[test]
fn dropping_any_tensor_is_an_error_that_names_it_under_either_names() {
    let names: Vec<String> = read_tensors(&checkpoint()).into_keys().collect();
    assert_eq!(names.len(), 3 * 16 + 8);
    for name in names {
        for new in [false, true] {
            let name = if new { of_today(&name) } else { name.clone() };
            let without = |tensors: &mut Tensors| {
                if new {
                    rename(tensors, of_today);
                }
                assert!(tensors.remove(&name).is_some(), "{name}");
            };
            let dir = changed(without, &[]);
            let error = load(&dir).unwrap_err();
            assert_missing(&error, &name);
        }
    }
}

#[test]
fn the_names_of_transformers_5_are_the_same_model() {
    let distance = distance(&changed(|tensors| rename(tensors, of_today), &[]));
    assert!(distance < TOLERANCE, "{distance:e}");
}

#[test]
fn every_tensor_counts() {
    for name in read_tensors(&checkpoint()).into_keys() {
        let distance = distance(&changed(|tensors| scale(tensors, &name, 0.5), &[]));
        // A bias of the keys shifts all of a query's scores alike, and softmax drops it.
        let counts = !name.ends_with("key.bias");
        assert_eq!(distance > 10.0 * TOLERANCE, counts, "{name}: {distance:e}");
    }
}

#[test]
fn tensors_under_one_anothers_names_change_the_answer() {
    let layer = "vit.encoder.layer.1";
    for (first, second) in [
        ("attention.attention.key", "attention.attention.value"),
        ("attention.attention.query", "attention.attention.key"),
        ("attention.attention.query", "attention.attention.value"),
        ("layernorm_before", "layernorm_after"),
    ] {
        let [first, second] = [first, second].map(|name| format!("{layer}.{name}"));
        let distance = distance(&changed(|tensors| swap(tensors, &first, &second), &[]));
        assert!(distance > 100.0 * TOLERANCE, "{first}: {distance:e}");
    }
}

#[test]
fn every_setting_counts() {
    for setting in [
        ("layer_norm_eps", json!(1e-12)),
        ("num_attention_heads", json!(8)),
        ("hidden_act", json!("relu")),
        ("hidden_act", json!("quick_gelu")),
        ("num_hidden_layers", json!(2)),
        ("qkv_bias", json!(false)),
    ] {
        let distance = distance(&changed(|_| {}, std::slice::from_ref(&setting)));
        println!("{setting:?}: {distance:e}");
        assert!(distance > 2.0 * TOLERANCE, "{setting:?}: {distance:e}");
    }
}

#[test]
fn without_qkv_bias_no_bias_is_read() {
    let ends = ["query.bias", "key.bias", "value.bias"];
    let is_bias = |name: &str| ends.iter().any(|end| name.ends_with(end));
    let zeroed = changed(|tensors| zero(tensors, is_bias), &[]);
    let none = changed(
        |tensors| tensors.retain(|name, _| !is_bias(name)),
        &[("qkv_bias", json!(false))],
    );
    assert!(largest_difference(&logits(&none), &logits(&zeroed)) < TOLERANCE);
}

#[test]
fn a_folder_that_contradicts_itself_is_refused_with_what_is_wrong() {
    for (setting, words) in [
        (
            ("image_size", json!(224)),
            "preprocessor_config.json makes 36 x 20",
        ),
        (("num_attention_heads", json!(7)), "num_attention_heads 7"),
        (("hidden_act", json!("swish-ish")), "swish-ish"),
        (("id2label", json!({"0": "a", "7": "b"})), "none of index 1"),
        (("problem_type", json!("guessing")), "guessing"),
    ] {
        let dir = changed(|_| {}, std::slice::from_ref(&setting));
        assert_config_refused(&dir, words);
    }
    let dir = changed(|_| {}, &[("id2label", json!({"0": "a", "1": "b"}))]);
    assert_weights_refused(&dir, ["classifier.weight", "[2, 40]"]);
}
