use super::*;
use serde_json::{Value, json};

/// Checks a complete manifest with some keys changed; null removes a key.
fn check(task: &str, changes: &Value) -> Result<Manifest, String> {
    let mut manifest = json!({
        "file": "model.pt", "task": task, "preprocessing": {"size": 8},
        "activation": "softmax", "labels": ["a", "b"],
    });
    if task == "object-detection" {
        manifest["output"] = json!({"boxes": 0, "scores": [1, "scores"]});
        manifest["box_format"] = json!("xyxy");
        manifest["box_unit"] = json!("pixels");
    }
    for (key, value) in changes.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    let keys = manifest.as_object_mut().unwrap();
    keys.retain(|_, value| !value.is_null());
    serde_json::from_value::<ManifestFile>(manifest)
        .map_err(|error| error.to_string())?
        .check()
}

const CLASSIFICATION: &str = "image-classification";
const DETECTION: &str = "object-detection";

#[test]
fn absent_keys_have_defaults() {
    let manifest = check(CLASSIFICATION, &json!({})).unwrap();
    assert_eq!(manifest.input.dtype, Dtype::Float32);
    assert_eq!(manifest.input.layout, Layout::Nchw);
    assert_eq!(manifest.input.batch, Batch::Dynamic);
    assert_eq!(manifest.size, None);
    assert!(matches!(manifest.reading, Reading::Logits(place) if place == Place::default()));
}

#[test]
fn every_key_can_be_set() {
    let manifest = check(
        DETECTION,
        &json!({
            "dtype": "bfloat16", "layout": "nhwc", "batch": 4, "activation": "none",
            "size": {"height": 8, "width": 16}, "box_format": "cxcywh", "box_unit": "fractions",
            "output": {"boxes": "b", "scores": 2, "labels": ["l", 0]},
            "preprocessing": "preprocessor_config.json", "labels": "labels.txt",
        }),
    )
    .unwrap();
    assert_eq!(manifest.input.batch, Batch::Fixed(4));
    let (height, width) = (8, 16);
    assert_eq!(manifest.size, Some(Size::Fixed { height, width }));
    let Reading::Objects(places) = manifest.reading else {
        panic!("no detector");
    };
    assert_eq!(places.format, BoxFormat::Cxcywh);
    assert!(places.labels.is_some());
    let dynamic = check(
        CLASSIFICATION,
        &json!({"size": "dynamic", "batch": "dynamic"}),
    )
    .unwrap();
    assert_eq!(dynamic.size, Some(Size::Dynamic));
}

#[test]
fn a_missing_key_is_reported_with_what_to_write() {
    for (task, key, words) in [
        (CLASSIFICATION, "file", "the module's file name"),
        (CLASSIFICATION, "task", "\"object-detection\""),
        (CLASSIFICATION, "preprocessing", "preprocessor_config.json"),
        (CLASSIFICATION, "activation", "\"sigmoid\""),
        (CLASSIFICATION, "labels", "a list"),
        (DETECTION, "output", "\"boxes\""),
        (DETECTION, "box_format", "\"cxcywh\""),
        (DETECTION, "box_unit", "\"fractions\""),
    ] {
        let error = check(task, &json!({key: null})).unwrap_err();
        assert!(
            error.contains(key) && error.contains(words),
            "{key}: {error}"
        );
    }
}

#[test]
fn a_wrong_value_is_reported_with_what_to_write() {
    let classification = [
        (json!({"sise": 3}), "unknown field `sise`"),
        (json!({"task": "image-to-text"}), "BLIP"),
        (json!({"task": "segmentation"}), "image-classification"),
        (json!({"file": "../model.pt"}), "without a path"),
        (json!({"file": "/etc/passwd"}), "without a path"),
        (json!({"file": ".."}), "without a path"),
        (json!({"labels": "a/b.txt"}), "without a path"),
        (json!({"preprocessing": "a/b.json"}), "without a path"),
        (json!({"preprocessing": 7}), "the name of a file"),
        (json!({"dtype": "int8"}), "bfloat16"),
        (json!({"layout": "hwc"}), "nhwc"),
        (json!({"batch": 0}), "1 to 1024"),
        (json!({"batch": "any"}), "\"dynamic\""),
        (json!({"batch": -1}), "\"dynamic\""),
        (json!({"size": 224}), "\"height\""),
        (json!({"size": {"height": 224}}), "\"height\""),
        (json!({"output": 1.5}), "index"),
        (json!({"output": {"boxes": 0, "scores": 1}}), "alone"),
        (json!({"box_unit": "pixels"}), "object-detection"),
        (json!({"activation": "tanh"}), "softmax"),
        (json!({"labels": 7}), "labels"),
    ];
    let detection = [
        (json!({"output": "boxes"}), "\"scores\""),
        (json!({"output": {"boxes": 0}}), "\"scores\""),
        (
            json!({"output": {"boxes": 0, "scores": 1, "masks": 2}}),
            "\"scores\"",
        ),
        (
            json!({"output": {"boxes": 0, "scores": 1, "labels": 2}}),
            "\"sigmoid\"",
        ),
        (json!({"box_format": "yxyx"}), "cxcywh"),
    ];
    let classification = classification.map(|(change, words)| (CLASSIFICATION, change, words));
    let detection = detection.map(|(change, words)| (DETECTION, change, words));
    for (task, change, words) in classification.into_iter().chain(detection) {
        let error = check(task, &change).unwrap_err();
        assert!(error.contains(words), "{change}: {error}");
    }
}
