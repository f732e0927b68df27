//! Errors about a TorchScript module or its manifest say what to do.

use crate::modules::{changed, preprocessing};
use crate::support::serve;
use fovea_runner::models::{self, ModelError};
use serde_json::json;

#[test]
fn a_module_that_contradicts_its_manifest_is_refused_with_its_input_and_output() {
    let six = json!(["a", "b", "c", "d", "e", "f"]);
    let crossed = json!({"output": {"boxes": [1, 1], "scores": [1, 0]}});
    for (name, changes, words) in [
        (
            "wrong-shape",
            json!({}),
            vec!["float32 tensor [1, 6]", "[1, 5]"],
        ),
        (
            "classifier",
            json!({"labels": six}),
            vec!["[1, 5]", "[1, 6]"],
        ),
        (
            "classifier",
            json!({"output": "logits"}),
            vec!["a float32 tensor [1, 5]", "\"logits\""],
        ),
        (
            "channels-last",
            json!({"output": "scores"}),
            vec!["\"logits\": a float32", "\"scores\""],
        ),
        (
            "mixes-pictures",
            json!({}),
            vec!["two pictures", "\"batch\": 1"],
        ),
        (
            "fixed-batch-1",
            json!({"batch": "dynamic"}),
            vec![
                "[2, 3, 24, 40]",
                "another batch than this module was made for",
            ],
        ),
        (
            "channels-last",
            json!({"layout": "nchw"}),
            vec!["given a float32 tensor [1, 3, 24, 40]"],
        ),
        (
            "half",
            json!({"dtype": "float32"}),
            vec!["given a float32 tensor"],
        ),
        (
            "detector",
            crossed,
            vec!["the boxes are a float32 tensor [1, 7, 3]"],
        ),
        (
            "detector",
            json!({"activation": "none"}),
            vec!["activation"],
        ),
        (
            "detector",
            json!({"labels": ["circle", "square"]}),
            vec!["[1, 7, 3]", "[1, 7, 2]"],
        ),
    ] {
        let error = serve(changed(name, &changes).path()).err().unwrap();
        assert!(
            matches!(error, ModelError::Module { .. }),
            "{name}: {error}"
        );
        let text = error.to_string();
        for words in words.into_iter().chain(["model.pt"]) {
            assert!(text.contains(words), "{name} {changes}: {text}");
        }
    }
}

#[test]
fn a_manifest_that_contradicts_its_folder_is_refused() {
    let cropped = preprocessing(&json!({"do_center_crop": true, "crop_size": 16}));
    let edges = preprocessing(&json!({"size": {"shortest_edge": 24, "longest_edge": 60}}));
    for (name, changes, words) in [
        ("classifier", json!({"file": "other.pt"}), "other.pt"),
        ("classifier", json!({"labels": "other.txt"}), "other.txt"),
        ("classifier", json!({"labels": ["a", null]}), "index 1"),
        ("classifier", json!({"task": "image-to-text"}), "BLIP"),
        ("classifier", json!({"sice": 1}), "sice"),
        (
            "classifier",
            json!({"size": {"height": 40, "width": 24}}),
            "40 x 24",
        ),
        (
            "classifier",
            json!({"preprocessing": "absent.json"}),
            "absent.json",
        ),
        (
            "classifier",
            json!({"preprocessing": edges}),
            "\"size\": \"dynamic\"",
        ),
        (
            "classifier",
            json!({"preprocessing": {"size": 32}}),
            "do_resize",
        ),
        (
            "detector",
            json!({"preprocessing": cropped, "size": null}),
            "crops",
        ),
    ] {
        let error = models::open(changed(name, &changes).path()).err().unwrap();
        let text = error.to_string();
        assert!(text.contains(words), "{name} {changes}: {text}");
    }
}

#[test]
fn a_file_that_is_not_a_module_is_refused_with_how_to_save_one() {
    for bytes in [&b""[..], b"not a module", &[0x50, 0x4b, 3, 4, 0, 0]] {
        let dir = changed("classifier", &json!({}));
        std::fs::write(dir.path().join("model.pt"), bytes).unwrap();
        let error = serve(dir.path()).err().unwrap().to_string();
        assert!(error.contains("torch.jit.save"), "{error}");
    }
}

#[test]
fn a_folder_with_a_config_is_a_checkpoint_whatever_else_lies_there() {
    let dir = changed("classifier", &json!({}));
    std::fs::write(dir.path().join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    let error = models::open(dir.path()).err().unwrap();
    assert!(matches!(error, ModelError::UnknownFamily { .. }), "{error}");
}
