//! The golden TorchScript modules; see `tests/golden/torchscript/README.md`.

use crate::support::golden::{checkpoint, read};
use crate::support::{Served, picture};
use fovea_protocol::InferResult;
use fovea_runner::image::PixelValues;
use fovea_runner::inference::{Answer, Item};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

/// `expected.json`.
#[derive(Deserialize)]
struct Expected {
    pictures: Vec<ExpectedPicture>,
}

#[derive(Deserialize)]
pub(crate) struct ExpectedPicture {
    pub(crate) file: String,
    pub(crate) scores: BTreeMap<String, f32>,
    pub(crate) objects: Vec<ExpectedObject>,
}

#[derive(Deserialize)]
pub(crate) struct ExpectedObject {
    pub(crate) label: String,
    pub(crate) score: f32,
    pub(crate) corners: [f32; 4],
}

pub(crate) fn golden() -> PathBuf {
    checkpoint("torchscript")
}

pub(crate) fn expected() -> Vec<ExpectedPicture> {
    read::<Expected>(&golden(), "expected.json").pictures
}

impl Served {
    pub(crate) fn items(&self) -> Vec<Item> {
        let preprocessor = &self.front.preprocessor;
        let run = |file: &str| preprocessor.run(&picture(file), 1 << 30).unwrap();
        (expected().iter())
            .map(|golden| self.item(run(&golden.file)))
            .collect()
    }

    /// A picture of one brightness: -1 is black, 1 is white.
    pub(crate) fn plain(&self, level: f32) -> Item {
        let (height, width) = self.front.preprocessor.warm_up_size();
        let values = vec![level; 3 * (height * width) as usize];
        self.item(PixelValues::new(values, (height, width), (width, height)).unwrap())
    }

    pub(crate) fn scores(&self, item: &Item, answer: Answer) -> BTreeMap<String, f32> {
        match self.front.head.result(&item.query, answer, (1, 1)).unwrap() {
            InferResult::Predictions(predictions) => (predictions.into_iter())
                .map(|prediction| (prediction.label, prediction.score))
                .collect(),
            other => panic!("{other:?}"),
        }
    }
}

/// A golden folder's copy with another manifest.
pub(crate) fn changed(name: &str, changes: &Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = golden().join(name);
    std::fs::copy(from.join("model.pt"), dir.path().join("model.pt")).unwrap();
    let manifest = with(read(&from, "fovea.json"), changes);
    std::fs::write(dir.path().join("fovea.json"), manifest.to_string()).unwrap();
    dir
}

/// The preprocessing of the golden manifests, with some keys changed.
pub(crate) fn preprocessing(changes: &Value) -> Value {
    let mut manifest: Value = read(&golden(), "classifier/fovea.json");
    with(manifest["preprocessing"].take(), changes)
}

fn with(mut object: Value, changes: &Value) -> Value {
    let changes = changes.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(changes);
    object
}
