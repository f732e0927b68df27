//! Compares the committed tensor lists of the hub's checkpoints with the tensors that loaders read.

use crate::support::golden::BF16;
use fovea_runner::models::blip::{Blip, BlipConfig};
use fovea_runner::models::detr::{Detr, DetrConfig};
use fovea_runner::models::resnet::{ResNet, ResNetConfig};
use fovea_runner::models::vit::{Vit, VitConfig};
use fovea_runner::tasks::LabelConfig;
use fovea_runner::weights::{TensorList, Weights, WeightsError};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Loads a model with a list's `config.json`.
type Load = fn(Value, &Weights) -> Result<(), WeightsError>;

/// Each list, its loader, and the suffixes of tensors that the loader does not read.
const CHECKPOINTS: [(&str, Load, &[&str]); 6] = [
    ("blip-image-captioning-base", blip, &["position_ids"]),
    ("blip-image-captioning-large", blip, &["position_ids"]),
    ("vit-base-patch16-224", vit, &[]),
    ("resnet-50", resnet, &["num_batches_tracked"]),
    ("detr-resnet-50", detr, &["num_batches_tracked"]),
    ("detr-resnet-101", detr, &["num_batches_tracked"]),
];

/// Second names of tied tensors.
const TIED: [&str; 2] = [
    "text_decoder.cls.predictions.decoder.weight",
    "text_decoder.cls.predictions.decoder.bias",
];

fn blip(config: Value, weights: &Weights) -> Result<(), WeightsError> {
    let config: BlipConfig = serde_json::from_value(config).unwrap();
    config.check().unwrap();
    Blip::new(&config, weights, BF16).map(drop)
}

fn labels(config: &Value) -> i64 {
    let labels: LabelConfig = serde_json::from_value(config.clone()).unwrap();
    i64::try_from(labels.labels().unwrap().len()).unwrap()
}

fn vit(config: Value, weights: &Weights) -> Result<(), WeightsError> {
    let labels = labels(&config);
    let config: VitConfig = serde_json::from_value(config).unwrap();
    config.check().unwrap();
    Vit::new(&config, labels, weights, BF16).map(drop)
}

fn resnet(config: Value, weights: &Weights) -> Result<(), WeightsError> {
    let labels = labels(&config);
    let config: ResNetConfig = serde_json::from_value(config).unwrap();
    config.check().unwrap();
    ResNet::new(&config, labels, None, weights, BF16).map(drop)
}

fn detr(config: Value, weights: &Weights) -> Result<(), WeightsError> {
    let labels = labels(&config);
    let config: DetrConfig = serde_json::from_value(config).unwrap();
    config.check().unwrap();
    let network = config.network().unwrap();
    Detr::new(&config, &network, labels, weights, BF16).map(drop)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints")
}

fn list(name: &str) -> TensorList {
    TensorList::read(&folder().join(format!("{name}.json"))).unwrap()
}

/// As a checkpoint's `config.json` has it: labels are named there, not counted.
fn config(list: &TensorList) -> Value {
    let mut config = list.config().clone();
    if let Some(labels) = config["num_labels"].as_u64() {
        let names = (0..labels).map(|id| (id.to_string(), json!(format!("LABEL_{id}"))));
        config["id2label"] = names.collect::<Map<_, _>>().into();
    }
    config
}

#[test]
fn a_loader_reads_every_tensor_of_its_checkpoint_on_the_hub_except_buffers() {
    for (name, load, left_alone) in CHECKPOINTS {
        let list = list(name);
        let weights = Weights::listed(&list, BF16);
        if let Err(error) = load(config(&list), &weights) {
            panic!("{name}: {error}");
        }
        let unused = weights.unused();
        let unexpected: Vec<&String> = (unused.iter())
            .filter(|unused| !left_alone.iter().any(|end| unused.ends_with(end)))
            .collect();
        assert!(
            unexpected.is_empty(),
            "{name} has {unexpected:?}, which nobody asks for"
        );
        let all = list.tensors().count();
        println!("{name}: {} of {all} tensors asked for", all - unused.len());
    }
}

/// Asserts an error that names the tensors: for each group of them, one load without the group and one
/// with another shape of it. Larger checkpoints would take too long; BLIP's golden checkpoint stands for them.
fn assert_differences_are_reported_by_name(checkpoint: &str) {
    let (name, load, left_alone) = (CHECKPOINTS.into_iter())
        .find(|(name, ..)| *name == checkpoint)
        .unwrap();
    let text = std::fs::read(folder().join(format!("{name}.json"))).unwrap();
    let mut whole: Value = serde_json::from_slice(&text).unwrap();
    let tensors = whole["tensors"].as_object_mut().unwrap();
    // A model loads without these: the second names of tied tensors, and tensors that it never reads.
    let beside = |name: &String| TIED.contains(&name.as_str());
    tensors.retain(|name, _| !beside(name) && !left_alone.iter().any(|end| name.ends_with(end)));
    let groups: Vec<String> = tensors.keys().cloned().collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.json");
    let load_changed = |changed: &Value| {
        std::fs::write(&path, changed.to_string()).unwrap();
        let list = TensorList::read(&path).unwrap();
        load(config(&list), &Weights::listed(&list, BF16))
    };
    for group in groups {
        let mut without = whole.clone();
        without["tensors"].as_object_mut().unwrap().remove(&group);
        let missed = load_changed(&without);
        assert!(
            matches!(missed, Err(WeightsError::Missing { .. })),
            "{name}: {group}"
        );
        let mut larger = whole.clone();
        larger["tensors"][&group][1][0] = json!(7);
        let refused = load_changed(&larger);
        assert!(
            matches!(refused, Err(WeightsError::Shape { .. })),
            "{name}: {group}"
        );
    }
}

#[test]
fn a_vit_that_differs_from_its_list_is_refused_with_the_tensors_name() {
    assert_differences_are_reported_by_name("vit-base-patch16-224");
}

#[test]
fn a_resnet_that_differs_from_its_list_is_refused_with_the_tensors_name() {
    assert_differences_are_reported_by_name("resnet-50");
}

#[test]
fn a_detr_that_differs_from_its_list_is_refused_with_the_tensors_name() {
    assert_differences_are_reported_by_name("detr-resnet-50");
}

#[test]
fn every_list_states_its_checkpoint_its_source_and_whether_it_was_inferred() {
    let files = folder().read_dir().unwrap().flatten();
    let mut repos: Vec<String> = files
        .map(|file| {
            let list = TensorList::read(&file.path()).unwrap();
            assert!(
                list.is_inferred() && list.source().contains("inferred from"),
                "{file:?}"
            );
            assert!(
                ["model.safetensors", "pytorch_model.bin"].contains(&list.file()),
                "{file:?}"
            );
            assert!(
                list.tensors()
                    .all(|(_, dtype, _)| matches!(dtype, "F32" | "I64")),
                "{file:?}"
            );
            assert!(file.metadata().unwrap().len() < 60_000, "{file:?}");
            format!("{}: {}", list.repo(), list.tensors().count())
        })
        .collect();
    repos.sort();
    let expected = [
        "Salesforce/blip-image-captioning-base: 474",
        "Salesforce/blip-image-captioning-large: 618",
        "facebook/detr-resnet-101: 789",
        "facebook/detr-resnet-50: 534",
        "google/vit-base-patch16-224: 200",
        "microsoft/resnet-50: 320",
    ];
    assert_eq!(repos, expected);
}

#[test]
fn an_invalid_list_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.json");
    let good = json!({
        "repo": "a/b", "file": "model.safetensors", "source": "a test", "inferred": true, "config": {},
        "tensors": {"l.{0..1}.w": ["F32", [1]]},
    });
    let refused = |change: fn(&mut Value)| {
        let mut list = good.clone();
        change(&mut list);
        std::fs::write(&path, list.to_string()).unwrap();
        TensorList::read(&path).err().map(|error| error.to_string())
    };
    assert_eq!(refused(|_| {}), None);
    assert!(
        refused(|list| drop(list["source"].take()))
            .unwrap()
            .contains("tensor_lists.py")
    );
    let twice = refused(|list| list["tensors"]["l.1.w"] = json!(["F32", [1]]));
    assert!(twice.unwrap().contains("\"l.1.w\" is there twice"));
    let braces = refused(|list| list["tensors"]["l.{0..x}.w"] = json!(["F32", [1]]));
    assert!(braces.unwrap().contains("no range"));
    assert!(TensorList::read(&dir.path().join("absent")).is_err());
}
