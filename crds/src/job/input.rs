//! A job's picture and the parameters of its task.

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

/// Source of the picture. Exactly one of the fields must be set.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::exactly_one)]
pub enum Input {
    /// Picture uploaded through Fovea's API for this namespace. `POST /v1/jobs` sets this.
    Upload {
        /// SHA-256 of the picture, as 64 lower-case hexadecimal digits.
        #[schemars(length(min = 64, max = 64))]
        #[schemars(extend("x-kubernetes-validations" = [rules::sha256()]))]
        sha256: String,
    },
    /// Object that the user has stored in the bucket.
    Object {
        /// Path of the object below `data/<the job's namespace>/`, such as `cats/1.jpg`. It must be
        /// normalised.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("key", "data/<namespace>/")]))]
        key: String,
    },
    /// Picture inside the manifest, for a job that is one YAML file.
    Inline {
        /// Picture of at most 64 KiB, as base64 on one line (`base64 -w0 picture.jpg`).
        // Not `format: byte`: the API server's CEL reads that as URL-safe base64 and fails any
        // rule that looks at a `+` or `/`, the immutability of the input among them.
        #[schemars(with = "String", length(min = 4, max = MAX_INLINE_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [rules::inline_base64(), rules::inline_size()]))]
        data: ByteString,
    },
}

impl fmt::Debug for Input {
    /// Omits the picture, so that it does not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upload { sha256 } => write!(f, "Upload({sha256})"),
            Self::Object { key } => write!(f, "Object({key:?})"),
            Self::Inline { data } => write!(f, "Inline({} bytes)", data.0.len()),
        }
    }
}

/// Parameters of a task. Each belongs to one task and is rejected for others. Unset parameters
/// default to the model's own settings.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Maximum number of generated tokens, without the prompt. For image-to-text only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_NEW_TOKENS))]
    pub max_new_tokens: Option<u32>,

    /// Number of beams of the beam search; 1 is greedy decoding. For image-to-text only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_BEAMS))]
    pub num_beams: Option<u32>,

    /// Text that the caption starts with, such as `a photo of`. For image-to-text only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_PROMPT_LENGTH))]
    pub prompt: Option<String>,

    /// Number of labels in the result, in order of their score. For image-classification only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_TOP_K))]
    pub top_k: Option<u32>,

    /// Minimum score of a detection, in thousandths: 900 is 0.9. For object-detection only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_PERMILLE))]
    pub score_threshold_permille: Option<u32>,
}

impl Parameters {
    /// Whether no parameter is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
