//! The odd pictures, and transformers' results for them; see `models/parity/preprocessing.py`.

use fovea_runner::image::{ImageProcessor, Preprocessor};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Enough for every golden picture.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// `expected.json`.
#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) levels: Configuration,
    pub(crate) pictures: BTreeMap<String, Picture>,
    pub(crate) configurations: BTreeMap<String, Answers>,
}

#[derive(Deserialize)]
pub(crate) struct Configuration {
    pub(crate) family: String,
    pub(crate) config: Value,
}

/// A picture as `load_image` gives it.
#[derive(Deserialize)]
pub(crate) struct Picture {
    pub(crate) size: (u32, u32),
    /// Digest of the picture's RGB bytes.
    pub(crate) sha256: String,
}

/// A configuration, and its processor's results for some pictures.
#[derive(Deserialize)]
pub(crate) struct Answers {
    #[serde(flatten)]
    pub(crate) configuration: Configuration,
    /// Results by picture; `None` where the processor fails.
    pub(crate) pixel_values: BTreeMap<String, Option<Values>>,
}

/// Pixel values, by their digest.
#[derive(Deserialize)]
pub(crate) struct Values {
    pub(crate) shape: [i64; 3],
    /// Digest of the values' little-endian bytes.
    pub(crate) sha256: String,
}

impl Configuration {
    pub(crate) fn preprocessor(&self) -> Preprocessor {
        let processor = match self.family.as_str() {
            "blip" => ImageProcessor::Blip,
            "vit" => ImageProcessor::Vit,
            "resnet" => ImageProcessor::ConvNext,
            "detr" => ImageProcessor::Detr,
            other => panic!("{other}"),
        };
        let path = Path::new("preprocessor_config.json");
        Preprocessor::parse(&self.config.to_string(), path, Some(processor)).unwrap()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures")
}

pub(crate) fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

/// One of the golden files.
pub(crate) fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join("files").join(name)).unwrap()
}

/// Every picture's levels as the processor of [`Expected::levels`] gives them.
pub(crate) fn levels() -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(folder().join("levels.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    (tensors.tensors().into_iter())
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect()
}
