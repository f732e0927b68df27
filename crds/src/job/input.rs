//! The picture, and the settings of a task.

use super::rules;
use crate::{
    bounds::{
        MAX_BEAMS, MAX_INLINE_LENGTH, MAX_KEY_LENGTH, MAX_NEW_TOKENS, MAX_PERMILLE,
        MAX_PROMPT_LENGTH, MAX_TOP_K,
    },
    schema,
};
use k8s_openapi::ByteString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The picture; exactly one of these.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::exactly_one)]
pub enum Input {
    /// A picture that the API keeps for this namespace; `POST /v1/jobs` writes this.
    Upload {
        /// The picture's SHA-256, 64 lower-case hexadecimal digits.
        #[schemars(length(min = 64, max = 64))]
        #[schemars(extend("x-kubernetes-validations" = [rules::sha256()]))]
        sha256: String,
    },
    /// An object that lies in the bucket already, put there by the user.
    Object {
        /// Its path below `data/<the job's namespace>/`, such as `cats/1.jpg`: normalised, at
        /// most 512 characters.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("key", "data/<namespace>/")]))]
        key: String,
    },
    /// The picture itself, for a job that is one YAML file.
    Inline {
        /// At most 64 KiB, as base64 on one line (`base64 -w0 picture.jpg`).
        // Not `format: byte`: the API server's CEL reads that as URL-safe base64 and fails any
        // rule that looks at a `+` or `/`, the immutability of the input among them.
        #[schemars(with = "String", length(min = 4, max = MAX_INLINE_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [rules::inline_base64(), rules::inline_size()]))]
        data: ByteString,
    },
}

impl fmt::Debug for Input {
    /// Does not write the picture into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upload { sha256 } => write!(f, "Upload({sha256})"),
            Self::Object { key } => write!(f, "Object({key:?})"),
            Self::Inline { data } => write!(f, "Inline({} bytes)", data.0.len()),
        }
    }
}

/// Settings of a task; each belongs to one task and is refused with another. What is left out is
/// the model's own default.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// image-to-text: how many tokens to write at most, the prompt not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_NEW_TOKENS))]
    pub max_new_tokens: Option<u32>,

    /// image-to-text: how many sequences a beam search follows at once; 1 takes the likeliest
    /// token at every step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_BEAMS))]
    pub num_beams: Option<u32>,

    /// image-to-text: words that the caption begins with, such as `a photo of`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_PROMPT_LENGTH))]
    pub prompt: Option<String>,

    /// image-classification: how many labels, best first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_TOP_K))]
    pub top_k: Option<u32>,

    /// object-detection: the least score that an object must have, in thousandths: 900 is 0.9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_PERMILLE))]
    pub score_threshold_permille: Option<u32>,
}

impl Parameters {
    /// Whether everything is left to the model.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
