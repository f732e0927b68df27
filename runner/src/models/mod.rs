//! The model families: detects the family of a checkpoint's folder, and opens it.

pub mod blip;
pub mod detr;
mod error;
pub mod nn;
pub mod resnet;
mod settings;
mod torchscript;
pub mod vit;

pub use error::ModelError;

use crate::inference::{Answer, Item, Model, ModelFault, ModelFront, Query};
use crate::weights::{Placement, Weights, WeightsError};
use serde::Deserialize;
use settings::settings;
use std::path::Path;
use std::sync::Arc;
use tch::{Kind, TchError, Tensor};

/// The model families that this build supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Blip,
    Vit,
    ResNet,
    Detr,
}

impl Family {
    const ALL: [Self; 4] = [Self::Blip, Self::Vit, Self::ResNet, Self::Detr];

    /// The `model_type` in `config.json`.
    fn model_type(self) -> &'static str {
        match self {
            Self::Blip => "blip",
            Self::Vit => "vit",
            Self::ResNet => "resnet",
            Self::Detr => "detr",
        }
    }
}

/// Loads the weights; called on the thread that will own the model.
pub type Loader = Box<dyn FnOnce(Placement) -> Result<Loaded, ModelError> + Send>;

/// A checkpoint's folder, read except for its weights.
pub type Opened = (Arc<ModelFront>, Loader);

/// A model on its device.
pub struct Loaded {
    pub model: Box<dyn Model>,
    /// `sha256:<digest of the weights file>`, or the commit on the hub if it is known.
    pub revision: String,
}

impl Loaded {
    /// Opens the weights in a checkpoint's folder and builds the model from them with `new`.
    fn from_folder<M: Model + 'static>(
        dir: &Path,
        placement: Placement,
        new: impl FnOnce(&Weights) -> Result<M, WeightsError>,
    ) -> Result<Self, ModelError> {
        let weights = Weights::open(dir, placement)?;
        let model = Box::new(new(&weights)?);
        tracing::debug!(unused = ?weights.unused(), "weights loaded");
        let revision = weights.revision()?;
        Ok(Self { model, revision })
    }
}

/// Reads a checkpoint's folder, except for its weights.
pub fn open(dir: &Path) -> Result<Opened, ModelError> {
    #[derive(Deserialize)]
    struct ModelType {
        #[serde(default)]
        model_type: String,
    }
    let path = dir.join("config.json");
    let manifest = dir.join(torchscript::MANIFEST_FILE);
    if !path.exists() && manifest.exists() {
        return torchscript::open(dir, &manifest);
    }
    let text = std::fs::read_to_string(&path).map_err(|source| ModelError::Read {
        path: path.clone(),
        source,
    })?;
    let ModelType { model_type } = parse(&text, &path)?;
    let family = (Family::ALL.into_iter()).find(|family| family.model_type() == model_type);
    match family {
        Some(Family::Blip) => blip::open(dir, &text, &path),
        Some(Family::Vit) => vit::open(dir, &text, &path),
        Some(Family::ResNet) => resnet::open(dir, &text, &path),
        Some(Family::Detr) => detr::open(dir, &text, &path),
        None => Err(ModelError::UnknownFamily { path, model_type }),
    }
}

fn parse<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, ModelError> {
    serde_json::from_str(text).map_err(|error| refusal(path)(error.to_string()))
}

/// Makes errors about the configuration at `path`.
fn refusal(path: &Path) -> impl Fn(String) -> ModelError + Copy {
    move |why| ModelError::Config {
        path: path.to_owned(),
        why,
    }
}

/// Answers classification queries with `logits`, given pixels `[batch, 3, height, width]`.
fn classify(
    items: &[Item],
    placement: Placement,
    logits: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
) -> Result<Vec<Answer>, ModelFault> {
    for item in items {
        let Query::Classify { .. } = &item.query else {
            return Err(ModelFault::foreign(&item.query));
        };
    }
    Ok(logits_of_rows(&logits(&stack(items, placement)?)?)?)
}

/// The pictures of `items`, all of one size, as `[batch, 3, height, width]` on the model's device.
fn stack(items: &[Item], placement: Placement) -> Result<Tensor, TchError> {
    let pictures = (items.iter())
        .map(|item| Tensor::f_from_slice(item.pixels.values())?.f_reshape(item.pixels.shape()))
        .collect::<Result<Vec<_>, _>>()?;
    Tensor::f_stack(&pictures, 0)?
        .f_to_device(placement.device)?
        .f_to_kind(placement.kind)
}

/// `[batch, labels]` to an answer per row, as 32-bit numbers.
fn logits_of_rows(logits: &Tensor) -> Result<Vec<Answer>, TchError> {
    let (_, labels) = logits.size2()?;
    let flat = logits.f_to_kind(Kind::Float)?.f_flatten(0, 1)?;
    let flat = Vec::<f32>::try_from(&flat)?;
    let labels = usize::try_from(labels).unwrap_or(0).max(1);
    Ok((flat.chunks(labels))
        .map(|row| Answer::Logits(row.to_vec()))
        .collect())
}
