//! `fovea.json`: the facts about a TorchScript module that cannot be read from the module itself.
//!
//! ```json
//! {
//!   "file": "model.pt",
//!   "task": "image-classification",
//!   "preprocessing": "preprocessor_config.json",
//!   "activation": "softmax",
//!   "labels": "labels.txt"
//! }
//! ```
//!
//! | key | is | absent |
//! |---|---|---|
//! | `file` | the module, as `torch.jit.save` wrote it, in the same folder | refused |
//! | `task` | `image-classification` or `object-detection` | refused |
//! | `preprocessing` | a `preprocessor_config.json`, or the name of one in the folder | refused |
//! | `activation` | `softmax`, `sigmoid` or `none`: what makes scores of the output | refused |
//! | `labels` | a list, an object from index to label, or the name of a file with either, or with a label per line; in a detector's, null is "no object" | refused |
//! | `dtype` | of the input: `float32`, `bfloat16` or `float16` | `float32` |
//! | `layout` | of the input: `nchw` or `nhwc` | `nchw` |
//! | `batch` | `dynamic`, or the one number of pictures that the module takes | `dynamic` |
//! | `size` | `dynamic`, or `{"height", "width"}`, which then `preprocessing` must make | what `preprocessing` makes |
//! | `output` | where the logits are: an index, a key, or a list of them from the outside in; of a detector `{"boxes", "scores", "labels"?}`, each such a place | the module gives the logits themselves; a detector's is refused |
//! | `box_format` | a detector's: `xyxy`, `xywh` (left, top, width, height) or `cxcywh` | refused |
//! | `box_unit` | a detector's: `pixels` of the input or `fractions` of it | refused |
//!
//! A detector's `scores` are `[batch, objects, labels]`, or with `labels` `[batch, objects]`.

use super::labels::Labels;
use super::output::Place;
use crate::tasks::Activation;
use fovea_protocol::Task;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

pub(in crate::models) const MANIFEST_FILE: &str = "fovea.json";

/// The unchecked manifest; unknown keys are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestFile {
    pub(super) file: Option<String>,
    pub(super) task: Option<Task>,
    pub(super) preprocessing: Option<Preprocessing>,
    pub(super) activation: Option<Activation>,
    pub(super) labels: Option<Labels>,
    #[serde(default)]
    pub(super) dtype: Dtype,
    #[serde(default)]
    pub(super) layout: Layout,
    #[serde(default)]
    pub(super) batch: Batch,
    pub(super) size: Option<Size>,
    pub(super) output: Option<Output>,
    pub(super) box_format: Option<BoxFormat>,
    pub(super) box_unit: Option<BoxUnit>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Dtype {
    #[default]
    Float32,
    Bfloat16,
    Float16,
}

/// Order of the input's dimensions: batch, channels, height, width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Layout {
    #[default]
    Nchw,
    Nhwc,
}

/// Number of pictures per pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "batch is neither \"dynamic\" nor a number of pictures"
)]
pub(super) enum Batch {
    #[default]
    #[serde(deserialize_with = "dynamic")]
    Dynamic,
    Fixed(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "size is neither \"dynamic\" nor {\"height\", \"width\"} in pixels"
)]
pub(super) enum Size {
    #[serde(deserialize_with = "dynamic")]
    Dynamic,
    Fixed {
        height: u32,
        width: u32,
    },
}

/// A `preprocessor_config.json`, or its file name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "preprocessing is neither an object nor the name of a file in the folder"
)]
pub(super) enum Preprocessing {
    File(String),
    Here(Map<String, Value>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "output is no place (an index, a key or a list of them), and not {\"boxes\", \
                 \"scores\", \"labels\"} with places either"
)]
pub(super) enum Output {
    One(Place),
    Several(Places),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Places {
    pub(super) boxes: Place,
    pub(super) scores: Place,
    pub(super) labels: Option<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BoxFormat {
    /// Left, top, right, bottom.
    Xyxy,
    /// Left, top, width, height.
    Xywh,
    /// Centre's x, centre's y, width, height.
    Cxcywh,
}

/// The unit of box coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BoxUnit {
    /// Pixels of the model's input.
    Pixels,
    /// Fractions of its width and height.
    Fractions,
}

/// Accepts only the string `"dynamic"`.
fn dynamic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    enum Word {
        #[serde(rename = "dynamic")]
        Dynamic,
    }
    Word::deserialize(deserializer).map(|Word::Dynamic| ())
}
