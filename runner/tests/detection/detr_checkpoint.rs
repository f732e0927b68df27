//! Every tensor and setting of a DETR checkpoint matters, and errors name a missing one.

use crate::golden::detr;
use crate::support::golden::{TOLERANCE, changed, checkpoint, expected_of, parameters, read};
use crate::support::{
    Tensors, add, assert_config_refused, assert_weights_refused, expected_tensor_in,
    largest_difference, read_tensors, rename, scale, swap, zero,
};
use fovea_runner::weights::{Placement, WeightsError};
use serde_json::{Value, json};
use tch::Tensor;
use tempfile::TempDir;

/// A wide picture and a tall one.
const PICTURES: usize = 2;

/// The largest difference of the first pictures' logits or boxes from transformers' for the true
/// checkpoint.
fn distance(golden: &str, dir: &TempDir) -> f64 {
    let truth = checkpoint(golden);
    let model = detr(dir.path(), Placement::CPU).unwrap();
    let predictions = (0..PICTURES).map(|row| {
        let pixels = expected_of(&checkpoint("detr"), "pixel_values", row);
        let predictions = model.forward(&pixels).unwrap();
        (predictions.logits, predictions.boxes)
    });
    let (logits, boxes): (Vec<_>, Vec<_>) = predictions.unzip();
    let [logits, boxes] = [("logits", logits), ("pred_boxes", boxes)].map(|(name, rows)| {
        let ours = Tensor::cat(&rows, 0);
        let theirs = expected_tensor_in(&truth, name).narrow(0, 0, ours.size()[0]);
        largest_difference(&ours, &theirs)
    });
    logits.max(boxes)
}

/// timm's name of a backbone tensor, from transformers'.
fn of_timm(name: &str) -> String {
    let Some(place) = name.strip_prefix("model.backbone.conv_encoder.model.") else {
        return name.to_owned();
    };
    let place = if let Some(end) = place.strip_prefix("embedder.embedder.") {
        end.replace("convolution", "conv1")
            .replace("normalization", "bn1")
    } else {
        let parts: Vec<&str> = place.split('.').collect();
        // encoder.stages.S.layers.B, then shortcut.KIND.END or layer.I.KIND.END.
        let stage = parts[2].parse::<usize>().unwrap() + 1;
        let block = format!("layer{stage}.{}", parts[4]);
        let end = parts.last().unwrap();
        let is_norm = parts.contains(&"normalization");
        if parts[5] == "shortcut" {
            format!("{block}.downsample.{}.{end}", usize::from(is_norm))
        } else {
            let kind = if is_norm { "bn" } else { "conv" };
            let index = parts[6].parse::<usize>().unwrap() + 1;
            format!("{block}.{kind}{index}.{end}")
        }
    };
    format!("model.backbone.conv_encoder.model.{place}")
}

#[test]
fn dropping_any_tensor_is_an_error_that_names_it() {
    for (golden, count) in [("detr", 203), ("detr-timm", 223)] {
        let names = parameters(golden);
        assert_eq!(names.len(), count, "{golden}");
        for name in names {
            let dir = changed(golden, |tensors| drop(tensors.remove(&name)), &[]);
            let error = detr(dir.path(), Placement::CPU).unwrap_err();
            // The first convolution's name decides which naming a backbone has.
            let other_naming = name.ends_with("model.conv1.weight");
            assert!(
                matches!(&error, WeightsError::Missing { name: missing, .. }
                    if *missing == name || other_naming),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn the_names_of_timm_are_the_same_network() {
    let renamed = changed("detr", |tensors| rename(tensors, of_timm), &[]);
    let distance = distance("detr", &renamed);
    assert!(distance < TOLERANCE, "{distance:e}");
}

/// Whether the tensor cannot matter: a bias of the keys shifts all of a query's scores alike, and
/// softmax drops it; and the queries begin as zeros, so the first self-attention yields the bias of
/// their values, whatever the scores are.
fn idle(name: &str) -> bool {
    let first_attention = "model.decoder.layers.0.self_attn";
    name.ends_with("k_proj.bias")
        || (name.starts_with(first_attention)
            && (name.contains("q_proj")
                || name.contains("k_proj")
                || name.ends_with("v_proj.weight")))
}

#[test]
fn every_tensor_counts() {
    for golden in ["detr", "detr-timm"] {
        for name in read_tensors(&checkpoint(golden)).into_keys() {
            let dir = changed(golden, |tensors| scale(tensors, &name, 4.0), &[]);
            let distance = distance(golden, &dir);
            let counts = distance > 5.0 * TOLERANCE;
            assert_eq!(counts, !idle(&name), "{golden} {name}: {distance:e}");
        }
    }
}

#[test]
fn tensors_under_one_anothers_names_change_the_answer() {
    for (begin, first, second) in [
        ("encoder.layers.1.self_attn.", "k_proj", "v_proj"),
        ("encoder.layers.1.self_attn.", "q_proj", "v_proj"),
        ("decoder.layers.1.self_attn.", "k_proj", "v_proj"),
        ("encoder_attn.", "k_proj", "v_proj"),
        ("encoder_attn.", "q_proj", "k_proj"),
        (
            "decoder.layers.",
            "1.encoder_attn.v_proj",
            "2.encoder_attn.v_proj",
        ),
        (
            "encoder.layers.0.",
            "final_layer_norm",
            "self_attn_layer_norm",
        ),
        ("normalization.", "running_mean", "bias"),
    ] {
        let [first, second] = [first, second].map(|end| format!("{begin}{end}"));
        let dir = changed("detr", |tensors| swap(tensors, &first, &second), &[]);
        let distance = distance("detr", &dir);
        assert!(distance > 50.0 * TOLERANCE, "{first}: {distance:e}");
    }
}

#[test]
fn another_eps_and_skipped_steps_change_the_answer() {
    let skip =
        |what: &'static str| move |tensors: &mut Tensors| zero(tensors, |name| name.contains(what));
    for (what, dir) in [
        (
            "cross-attention",
            changed("detr", skip("encoder_attn.out_proj."), &[]),
        ),
        (
            "the queries' positions",
            changed("detr", skip("query_position_embeddings.weight"), &[]),
        ),
        // An eps of 1e-5 more is that much more variance.
        (
            "an eps of 2e-5",
            changed("detr", |tensors| add(tensors, "running_var", 1e-5), &[]),
        ),
    ] {
        let distance = distance("detr", &dir);
        println!("{what}: {distance:e}");
        assert!(distance > 10.0 * TOLERANCE, "{what}: {distance:e}");
    }
    // Mistakes that no weights can imitate were tried in transformers with the goldens.
    for golden in ["detr", "detr-timm"] {
        let expected: Value = read(&checkpoint(golden), "expected.json");
        let mistakes = expected["mistakes"].as_object().unwrap();
        assert_eq!(mistakes.len(), 4);
        for (mistake, distance) in mistakes {
            let distance = distance.as_f64().unwrap();
            assert!(distance > 10.0 * TOLERANCE, "{mistake}: {distance:e}");
        }
    }
}

#[test]
fn every_setting_counts() {
    for (golden, setting) in [
        ("detr", ("/encoder_attention_heads", json!(2))),
        ("detr", ("/decoder_attention_heads", json!(4))),
        ("detr", ("/activation_function", json!("gelu"))),
        ("detr", ("/encoder_layers", json!(1))),
        ("detr", ("/decoder_layers", json!(2))),
        ("detr", ("/auxiliary_loss", json!(true))),
        (
            "detr",
            ("/backbone_config/downsample_in_bottleneck", json!(false)),
        ),
        ("detr-timm", ("/auxiliary_loss", json!(false))),
    ] {
        let dir = changed(golden, |_| {}, std::slice::from_ref(&setting));
        let distance = distance(golden, &dir);
        println!("{setting:?}: {distance:e}");
        assert!(distance > 10.0 * TOLERANCE, "{setting:?}: {distance:e}");
    }
}

#[test]
fn a_folder_that_contradicts_itself_is_refused_with_what_is_wrong() {
    for (setting, words) in [
        (("/position_embedding_type", json!("learned")), "learned"),
        (("/backbone_config/model_type", json!("swin")), "swin"),
        (
            ("/backbone_config/out_features", json!(["stage2"])),
            "stage3",
        ),
        (
            ("/decoder_attention_heads", json!(7)),
            "decoder_attention_heads 7",
        ),
        (
            ("/id2label", json!({"0": "a", "7": "b"})),
            "none of index 1",
        ),
    ] {
        let dir = changed("detr", |_| {}, std::slice::from_ref(&setting));
        assert_config_refused(&dir, words);
    }
    let dir = changed("detr", |_| {}, &[("/num_queries", json!(8))]);
    assert_weights_refused(&dir, ["query_position_embeddings.weight", "[7, 24]"]);
}
