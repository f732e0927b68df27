//! The model families: which one a checkpoint's folder holds, and how it is opened.

pub mod blip;
pub mod detr;
mod error;
pub mod nn;
pub mod resnet;
mod torchscript;
pub mod vit;

pub use error::{ModelError, ModelFault};

use crate::image::{PixelValues, Preprocessor};
use crate::tasks::TaskHead;
use crate::weights::{Placement, Weights, WeightsError};
use blip::CaptionAsk;
use fovea_protocol::Parameters;
use serde::Deserialize;
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

/// One picture of a batch and what is asked about it.
#[derive(Clone, Debug)]
pub struct Item {
    /// As the model's preprocessor gave it.
    pub pixels: PixelValues,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked about a picture; one form per task.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Image-to-text.
    Caption(CaptionAsk),
    /// Image-classification: the best so many labels.
    Classify {
        /// At most; a model may know fewer labels.
        top_k: usize,
    },
    /// Object-detection: what scores higher than this.
    Detect {
        /// 0 to 1.
        threshold: f32,
    },
}

impl Ask {
    /// Steps of the model one after another, at most, each beam's counted.
    fn steps(&self) -> usize {
        match self {
            Self::Caption(ask) => ask.max_length * ask.num_beams,
            Self::Classify { .. } | Self::Detect { .. } => 1,
        }
    }
}

/// What decides which pictures can share a pass: those with the same key can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BatchKey {
    /// Tokens to begin with, for a caption.
    pub tokens: usize,
    /// Beams, for a caption.
    pub beams: usize,
    /// The input's shape; none where a model takes mixed ones.
    pub shape: Option<[i64; 3]>,
}

/// What a model gave for one picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Image-to-text: tokens.
    Caption(Vec<i64>),
    /// Image-classification: a logit for every label.
    Logits(Vec<f32>),
    /// Object-detection: every object that the model sees, however faintly, in its own order.
    Objects(Vec<Object>),
}

/// One object that a model sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Index of its label.
    pub label: usize,
    /// 0 to 1.
    pub score: f32,
    /// xmin, ymin, xmax, ymax, in fractions of the upright picture's width and height.
    pub corners: [f32; 4],
}

/// A model on its device. Lives on the engine's thread.
pub trait Model {
    /// Answers for `items`, which have one [`BatchKey`], in their order. An item that is
    /// `dropped` (by its index) may be answered with anything; a model asks as often as it can.
    fn run(
        &self,
        items: &[Item],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Answer>, ModelFault>;
}

/// The half of a model that requests need; the weights are not loaded for it.
pub struct ModelFront {
    /// Parameters and results.
    pub head: Box<dyn TaskHead>,
    /// Bytes to input.
    pub preprocessor: Preprocessor,
    /// Whether inputs of several sizes can share a pass.
    pub mixed_sizes: bool,
}

impl ModelFront {
    /// With which others an item can share a pass.
    pub fn batch_key(&self, item: &Item) -> BatchKey {
        let (tokens, beams) = match &item.ask {
            Ask::Caption(ask) => (ask.input_ids.len(), ask.num_beams),
            Ask::Classify { .. } | Ask::Detect { .. } => (0, 0),
        };
        let shape = (!self.mixed_sizes).then(|| item.pixels.shape());
        BatchKey {
            tokens,
            beams,
            shape,
        }
    }

    /// How much more work an item is than the warm-up's, at most: by its input's pixels, and by
    /// the tokens that may be written.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn relative_work(&self, item: &Item) -> f64 {
        let (height, width) = self.preprocessor.warm_up_size();
        let usual_pixels = f64::from(height) * f64::from(width);
        let [_, height, width] = item.pixels.shape();
        let pixels = (height * width) as f64 / usual_pixels;
        let usual = self.head.ask(&Parameters::default());
        let usual_steps = usual.map_or(1, |ask| ask.steps());
        let steps = item.ask.steps() as f64 / usual_steps as f64;
        pixels.max(1.0) * steps.max(1.0)
    }
}

/// Loads the other half; called on the thread that will own it.
pub type Loader = Box<dyn FnOnce(Placement) -> Result<Loaded, ModelError> + Send>;

/// A model's half on the device.
pub struct Loaded {
    /// The model.
    pub model: Box<dyn Model>,
    /// `sha256:<digest of the weights file>`, or the hub's commit that it is known to be of.
    pub revision: String,
}

impl Loaded {
    /// Opens the weights in a checkpoint's folder and has `new` make the model of them.
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

/// Reads all of a checkpoint's folder but its weights.
pub fn open(dir: &Path) -> Result<(Arc<ModelFront>, Loader), ModelError> {
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

/// A configuration's text.
fn parse<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, ModelError> {
    serde_json::from_str(text).map_err(|error| ModelError::Config {
        path: path.to_owned(),
        why: error.to_string(),
    })
}

/// The pictures of `items`, all of one size, as `[batch, 3, height, width]` where the model lies.
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
