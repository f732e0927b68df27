//! The choice of a folder's weights file, and weights in several files.

use crate::support;
use fovea_runner::models::blip::Blip;
use fovea_runner::weights::{Placement, Weights, WeightsError};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::path::Path;

/// The golden checkpoint in two files and an index, which `change` may spoil.
fn sharded(change: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(support::checkpoint().join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = tensors.tensors();
    tensors.sort_by(|one, other| one.0.cmp(&other.0));
    let mut index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": {}});
    for (part, file) in ["one.safetensors", "two.safetensors"]
        .into_iter()
        .enumerate()
    {
        let mine = tensors.iter().skip(part).step_by(2);
        let views: Vec<&(String, TensorView<'_>)> = mine.collect();
        for (name, _) in &views {
            index["weight_map"][name] = file.into();
        }
        let views = views.into_iter().map(|(name, view)| (name, view));
        safetensors::serialize_to_file(views, None, &dir.path().join(file)).unwrap();
    }
    change(&mut index);
    let path = dir.path().join("model.safetensors.index.json");
    std::fs::write(path, index.to_string()).unwrap();
    dir
}

fn blip(dir: &Path) -> Result<Blip, WeightsError> {
    let weights = Weights::open(dir, Placement::CPU)?;
    assert!(!weights.unused().is_empty());
    let model = Blip::new(
        &support::config(&support::checkpoint()),
        &weights,
        Placement::CPU,
    );
    if model.is_ok() {
        assert_eq!(weights.unused(), [] as [&str; 0]);
    }
    model
}

#[test]
fn shards_together_are_the_checkpoint() {
    let (ours, theirs) = (
        blip(sharded(|_| {}).path()),
        support::blip(&support::checkpoint()),
    );
    let pixels = support::expected_tensor("pixel_values");
    let hidden = |model: &Blip| model.vision().forward(&pixels).unwrap();
    assert_eq!(hidden(&ours.unwrap()), hidden(&theirs));
    let revision = |dir: &Path| {
        Weights::open(dir, Placement::CPU)
            .unwrap()
            .revision()
            .unwrap()
    };
    let dir = sharded(|_| {});
    let before = revision(dir.path());
    assert_eq!(before, revision(sharded(|_| {}).path()));
    let part = dir.path().join("two.safetensors");
    let mut bytes = std::fs::read(&part).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(part, bytes).unwrap();
    assert_ne!(before, revision(dir.path()));
}

#[test]
fn an_index_that_names_a_missing_file_or_tensor_is_refused() {
    let name = "vision_model.post_layernorm.weight";
    let refused = |file: &str| {
        let dir = sharded(|index| index["weight_map"][name] = file.into());
        blip(dir.path()).unwrap_err().to_string()
    };
    for outside in ["../one.safetensors", "/etc/passwd", "", ".hidden", "a\\b"] {
        assert!(refused(outside).contains("is no file's name"), "{outside}");
    }
    assert!(refused("three.safetensors").contains("three.safetensors"));
    // One of the two files exists.
    let misplaced = ["one.safetensors", "two.safetensors"].map(|file| {
        let dir = sharded(|index| index["weight_map"][name] = file.into());
        let opened = Weights::open(dir.path(), Placement::CPU);
        opened.is_err_and(|error| error.to_string().contains("is to lie in"))
    });
    assert!(misplaced[0] != misplaced[1]);
    let dir = sharded(|index| drop(index["weight_map"].take()));
    assert!(
        blip(dir.path())
            .unwrap_err()
            .to_string()
            .contains("no index")
    );
    let many = (0..300).map(|i| (i.to_string(), format!("{i}.safetensors").into()));
    let many: serde_json::Map<_, serde_json::Value> = many.collect();
    let dir = sharded(|index| index["weight_map"] = many.clone().into());
    assert!(
        blip(dir.path())
            .unwrap_err()
            .to_string()
            .contains("300 files")
    );
}

#[test]
fn safetensors_precede_shards_and_shards_precede_pytorchs_file() {
    let dir = sharded(|_| {});
    let write = |name: &str| std::fs::write(dir.path().join(name), b"no weights").unwrap();
    write("pytorch_model.bin");
    blip(dir.path()).unwrap();
    write("model.safetensors");
    let error = blip(dir.path()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors is not"), "{error}");
}
