use super::*;
use serde_json::{Value, json};

/// A manifest that is complete, with some keys changed; null leaves one out.
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
fn what_is_absent_is_the_usual() {
    let manifest = check(CLASSIFICATION, &json!({})).unwrap();
    assert_eq!(manifest.input.dtype, Dtype::Float32);
    assert_eq!(manifest.input.layout, Layout::Nchw);
    assert_eq!(manifest.input.batch, Batch::Dynamic);
    assert_eq!(manifest.size, None);
    assert!(matches!(manifest.reading, Reading::Logits(place) if place == Place::default()));
}

#[test]
fn everything_can_be_said() {
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
    for (task, change, words) in [
        (CLASSIFICATION, json!({"sise": 3}), "unknown field `sise`"),
        (CLASSIFICATION, json!({"task": "image-to-text"}), "BLIP"),
        (
            CLASSIFICATION,
            json!({"task": "segmentation"}),
            "image-classification",
        ),
        (
            CLASSIFICATION,
            json!({"file": "../model.pt"}),
            "without a path",
        ),
        (
            CLASSIFICATION,
            json!({"file": "/etc/passwd"}),
            "without a path",
        ),
        (CLASSIFICATION, json!({"file": ".."}), "without a path"),
        (
            CLASSIFICATION,
            json!({"labels": "a/b.txt"}),
            "without a path",
        ),
        (
            CLASSIFICATION,
            json!({"preprocessing": "a/b.json"}),
            "without a path",
        ),
        (
            CLASSIFICATION,
            json!({"preprocessing": 7}),
            "the name of a file",
        ),
        (CLASSIFICATION, json!({"dtype": "int8"}), "bfloat16"),
        (CLASSIFICATION, json!({"layout": "hwc"}), "nhwc"),
        (CLASSIFICATION, json!({"batch": 0}), "1 to 1024"),
        (CLASSIFICATION, json!({"batch": "any"}), "\"dynamic\""),
        (CLASSIFICATION, json!({"batch": -1}), "\"dynamic\""),
        (CLASSIFICATION, json!({"size": 224}), "\"height\""),
        (
            CLASSIFICATION,
            json!({"size": {"height": 224}}),
            "\"height\"",
        ),
        (CLASSIFICATION, json!({"output": 1.5}), "index"),
        (
            CLASSIFICATION,
            json!({"output": {"boxes": 0, "scores": 1}}),
            "alone",
        ),
        (
            CLASSIFICATION,
            json!({"box_unit": "pixels"}),
            "object-detection",
        ),
        (CLASSIFICATION, json!({"activation": "tanh"}), "softmax"),
        (CLASSIFICATION, json!({"labels": 7}), "labels"),
        (DETECTION, json!({"output": "boxes"}), "\"scores\""),
        (DETECTION, json!({"output": {"boxes": 0}}), "\"scores\""),
        (
            DETECTION,
            json!({"output": {"boxes": 0, "scores": 1, "masks": 2}}),
            "\"scores\"",
        ),
        (
            DETECTION,
            json!({"output": {"boxes": 0, "scores": 1, "labels": 2}}),
            "\"sigmoid\"",
        ),
        (DETECTION, json!({"box_format": "yxyx"}), "cxcywh"),
    ] {
        let error = check(task, &change).unwrap_err();
        assert!(error.contains(words), "{change}: {error}");
    }
}
