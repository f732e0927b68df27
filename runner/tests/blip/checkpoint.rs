//! An incomplete or wrong checkpoint is refused, and the error names the fault.

use crate::support::{
    Tensors, assert_missing, checkpoint, config, expected, expected_tensor, largest_difference,
    read_tensors, swap, write_tensors, zero,
};
use fovea_runner::models::blip::Blip;
use fovea_runner::models::{self, ModelError};
use fovea_runner::weights::{Placement, Weights, WeightsError};
use safetensors::Dtype;
use std::path::Path;

fn load(dir: &Path) -> Result<Blip, WeightsError> {
    let weights = Weights::open(dir, Placement::CPU)?;
    Blip::new(&config(&checkpoint()), &weights, Placement::CPU)
}

fn load_changed(change: impl FnOnce(&mut Tensors)) -> Result<Blip, WeightsError> {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = read_tensors(&checkpoint());
    change(&mut tensors);
    write_tensors(&tensors, dir.path());
    load(dir.path())
}

fn greedy_of_first(model: &Blip) -> Vec<i64> {
    let text_config = config(&checkpoint()).text_config;
    let query = text_config.caption_query(&[], Some(16), 1).unwrap();
    let pixels = expected_tensor("pixel_values").narrow(0, 0, 1);
    (model.generate(&pixels, &[&query], &|_| false).unwrap()).remove(0)
}

const WORDS: &str = "text_decoder.bert.embeddings.word_embeddings.weight";
const TIED_WEIGHT: &str = "text_decoder.cls.predictions.decoder.weight";
const BIAS: &str = "text_decoder.cls.predictions.bias";
const TIED_BIAS: &str = "text_decoder.cls.predictions.decoder.bias";

#[test]
fn dropping_any_tensor_is_an_error_that_names_it() {
    let names: Vec<String> = read_tensors(&checkpoint()).into_keys().collect();
    assert!(names.len() > 80, "{}", names.len());
    for name in names {
        let error = load_changed(|tensors| drop(tensors.remove(&name))).unwrap_err();
        assert_missing(&error, &name);
    }
}

#[test]
fn a_tensor_of_another_shape_or_type_is_an_error_that_names_it() {
    let name = "vision_model.encoder.layers.0.self_attn.qkv.bias";
    let error = load_changed(|tensors| {
        let (_, shape, data) = tensors.get_mut(name).unwrap();
        shape[0] -= 1;
        data.truncate(shape[0] * 4);
    });
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains(name) && text.contains("[143]") && text.contains("[144]"),
        "{text}"
    );

    let error = load_changed(|tensors| tensors.get_mut(name).unwrap().0 = Dtype::I32);
    let text = error.unwrap_err().to_string();
    assert!(text.contains(name) && text.contains("I32"), "{text}");
}

#[test]
fn tied_tensors_may_lie_under_either_name_or_both_and_buffers_are_ignored() {
    let greedy = &expected().pictures[0].greedy.token_ids;
    let moved = load_changed(|tensors| {
        let (words, bias) = (tensors.remove(WORDS), tensors.remove(BIAS));
        tensors.insert(TIED_WEIGHT.to_owned(), words.unwrap());
        tensors.insert(TIED_BIAS.to_owned(), bias.unwrap());
    });
    assert_eq!(greedy_of_first(&moved.unwrap()), *greedy);
    let both = load_changed(|tensors| {
        tensors.insert(TIED_WEIGHT.to_owned(), tensors[WORDS].clone());
        tensors.insert(TIED_BIAS.to_owned(), tensors[BIAS].clone());
        let positions = (Dtype::I64, vec![1, 2], vec![0; 16]);
        let name = "text_decoder.bert.embeddings.position_ids";
        tensors.insert(name.to_owned(), positions);
    });
    assert_eq!(greedy_of_first(&both.unwrap()), *greedy);
}

#[test]
fn tied_names_with_different_values_are_two_tensors_as_in_transformers() {
    let greedy = &expected().pictures[0].greedy.token_ids;
    let untied = load_changed(|tensors| {
        let (dtype, shape, data) = tensors[WORDS].clone();
        tensors.insert(TIED_WEIGHT.to_owned(), (dtype, shape, vec![0; data.len()]));
    });
    assert_ne!(greedy_of_first(&untied.unwrap()), *greedy);
}

#[test]
fn swapping_keys_and_values_or_weakening_the_cross_attention_changes_captions() {
    let greedy = &expected().pictures[0].greedy.token_ids;
    let layer = "text_decoder.bert.encoder.layer.0.crossattention";
    let swapped = load_changed(|tensors| {
        let [key, value] = ["key", "value"].map(|part| format!("{layer}.self.{part}.weight"));
        swap(tensors, &key, &value);
    });
    assert_ne!(greedy_of_first(&swapped.unwrap()), *greedy);
    let skipped = load_changed(|tensors| {
        zero(tensors, |name| name.contains("crossattention.output.dense"));
    });
    assert_ne!(greedy_of_first(&skipped.unwrap()), *greedy);
}

#[test]
fn half_precision_weights_are_read_as_numbers_not_as_bits() {
    let model = load_changed(|tensors| {
        for (dtype, _, data) in tensors.values_mut() {
            *dtype = Dtype::BF16;
            // The upper half of an f32 is the bf16 below it.
            *data = data
                .chunks(4)
                .flat_map(|float| [float[2], float[3]])
                .collect();
        }
    });
    let hidden = model
        .unwrap()
        .vision()
        .forward(&expected_tensor("pixel_values"));
    let golden = expected_tensor("last_hidden_state");
    let difference = largest_difference(&hidden.unwrap(), &golden);
    assert!((1e-4..0.5).contains(&difference), "{difference}");
}

#[test]
fn a_file_that_is_cut_or_has_a_wrong_header_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let whole = std::fs::read(checkpoint().join("model.safetensors")).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        load(dir.path()).unwrap_err().to_string()
    };
    assert!(refused(b"").contains("0 bytes"));
    assert!(refused(&whole[..whole.len() - 1]).contains("cut off"));
    assert!(refused(&[&whole[..], b"more"].concat()).contains("added to"));
    assert!(refused(&whole[..100]).contains("header claims"));
    let bomb = [&u64::MAX.to_le_bytes(), &whole[8..]].concat();
    assert!(refused(&bomb).contains("header claims"));
    let mut garbled = whole.clone();
    garbled[8] = b'x';
    assert!(refused(&garbled).contains("not a safetensors file"));
    let absent = load(&dir.path().join("absent")).unwrap_err().to_string();
    for part in [
        "absent",
        "model.safetensors.index.json",
        "pytorch_model.bin",
    ] {
        assert!(absent.contains(part), "{absent}");
    }
}

#[test]
fn an_unknown_family_is_refused_with_the_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, r#"{"model_type": "llama"}"#).unwrap();
    let error = models::open(dir.path()).err().unwrap();
    assert!(matches!(error, ModelError::UnknownFamily { .. }));
    let text = error.to_string();
    assert!(text.contains("llama") && text.contains("blip"), "{text}");
}
