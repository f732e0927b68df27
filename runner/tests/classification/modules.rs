//! The golden TorchScript modules; see `tests/golden/torchscript/README.md`.

use crate::support::picture;
use fovea_protocol::{InferResult, Parameters};
use fovea_runner::image::PixelValues;
use fovea_runner::inference::{Answer, Item, Model, ModelFront};
use fovea_runner::models::{self, ModelError};
use fovea_runner::weights::Placement;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torchscript")
}

pub(crate) fn expected() -> Vec<ExpectedPicture> {
    let text = std::fs::read(golden().join("expected.json")).unwrap();
    let Expected { pictures } = serde_json::from_slice(&text).unwrap();
    pictures
}

/// The model of a golden or another folder.
pub(crate) struct Served {
    pub(crate) front: Arc<ModelFront>,
    pub(crate) model: Box<dyn Model>,
    pub(crate) revision: String,
}

pub(crate) fn serve(dir: &Path) -> Result<Served, ModelError> {
    let (front, loader) = models::open(dir)?;
    let models::Loaded { model, revision } = loader(Placement::CPU)?;
    Ok(Served {
        front,
        model,
        revision,
    })
}

impl Served {
    pub(crate) fn item(&self, pixels: PixelValues) -> Item {
        let query = self.front.head.query(&Parameters::default()).unwrap();
        Item { pixels, query }
    }

    pub(crate) fn items(&self) -> Vec<Item> {
        let run = |file: &str| {
            self.front
                .preprocessor
                .run(&picture(file), 1 << 30)
                .unwrap()
        };
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

    pub(crate) fn run(&self, items: &[Item]) -> Result<Vec<Answer>, String> {
        (self.model.run(items, &|_| false)).map_err(|fault| fault.to_string())
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
    let text = std::fs::read_to_string(from.join("fovea.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    std::fs::write(dir.path().join("fovea.json"), manifest.to_string()).unwrap();
    dir
}

/// The preprocessing of the golden manifests, with some keys changed.
pub(crate) fn preprocessing(changes: &Value) -> Value {
    let text = std::fs::read_to_string(golden().join("classifier/fovea.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    let mut preprocessing = manifest["preprocessing"].take();
    for (key, value) in changes.as_object().unwrap() {
        preprocessing[key] = value.clone();
    }
    preprocessing
}
