//! A checkpoint's tensors as a map that a test can change.

use fovea_runner::models::{self, ModelError};
use fovea_runner::weights::{Placement, WeightsError};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// Name, type, shape and bytes of every tensor.
pub(crate) type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

pub(crate) fn read_tensors(dir: &Path) -> Tensors {
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), tensor)
        })
        .collect()
}

pub(crate) fn write_tensors(tensors: &Tensors, dir: &Path) {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
}

/// Multiplies every number of a 32-bit tensor.
pub(crate) fn scale(tensors: &mut Tensors, name: &str, factor: f32) {
    let (_, _, data) = tensors.get_mut(name).unwrap();
    for bytes in data.chunks_exact_mut(4) {
        let number = f32::from_le_bytes(bytes.try_into().unwrap());
        bytes.copy_from_slice(&(number * factor).to_le_bytes());
    }
}

/// Adds to every number of the 32-bit tensors whose names end so.
pub(crate) fn add(tensors: &mut Tensors, end: &str, summand: f32) {
    let named = tensors.iter_mut().filter(|(name, _)| name.ends_with(end));
    for (_, (_, _, data)) in named {
        for bytes in data.chunks_exact_mut(4) {
            let number = f32::from_le_bytes(bytes.try_into().unwrap());
            bytes.copy_from_slice(&(number + summand).to_le_bytes());
        }
    }
}

/// Swaps the tensors whose names differ only in these parts.
pub(crate) fn swap(tensors: &mut Tensors, first: &str, second: &str) {
    let names: Vec<String> = (tensors.keys().filter(|name| name.contains(first)))
        .cloned()
        .collect();
    assert!(!names.is_empty(), "{first}");
    for name in names {
        let other = name.replace(first, second);
        let (a, b) = (tensors[&name].clone(), tensors[&other].clone());
        tensors.insert(name, b);
        tensors.insert(other, a);
    }
}

/// Zeroes the tensors whose names match; there must be one.
pub(crate) fn zero(tensors: &mut Tensors, matches: impl Fn(&str) -> bool) {
    let mut found = false;
    for (_, (_, _, data)) in tensors.iter_mut().filter(|(name, _)| matches(name)) {
        data.fill(0);
        found = true;
    }
    assert!(found);
}

pub(crate) fn rename(tensors: &mut Tensors, new_name: impl Fn(&str) -> String) {
    *tensors = std::mem::take(tensors)
        .into_iter()
        .map(|(name, tensor)| (new_name(&name), tensor))
        .collect();
}

/// A copy of the checkpoint in `from` with other tensors and settings. A setting is a key of
/// `config.json`, or the JSON pointer of one that it has.
pub(crate) fn changed_copy(
    from: &Path,
    change: impl FnOnce(&mut Tensors),
    settings: &[(&str, Value)],
) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = read_tensors(from);
    change(&mut tensors);
    write_tensors(&tensors, dir.path());
    let text = std::fs::read_to_string(from.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (place, value) in settings {
        if place.starts_with('/') {
            *config.pointer_mut(place).unwrap() = value.clone();
        } else {
            config[*place] = value.clone();
        }
    }
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let name = "preprocessor_config.json";
    std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
    dir
}

/// Asserts that the folder is refused for its `config.json`, with `words`.
pub(crate) fn assert_config_refused(dir: &TempDir, words: &str) {
    let error = models::open(dir.path()).err().unwrap();
    assert!(matches!(error, ModelError::Config { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(words) && text.contains("config.json"),
        "{text}"
    );
}

/// Asserts that this tensor is the missing one.
pub(crate) fn assert_missing(error: &WeightsError, name: &str) {
    let is_it = matches!(error, WeightsError::Missing { name: missing, .. } if missing == name);
    assert!(is_it, "{name}: {error}");
}

/// Asserts that loading the weights fails with an error that has both words.
pub(crate) fn assert_weights_refused(dir: &TempDir, words: [&str; 2]) {
    let (_, loader) = models::open(dir.path()).unwrap();
    let error = loader(Placement::CPU).err().unwrap().to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}
