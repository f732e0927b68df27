//! A job's picture or pictures, and the parameters of its task.

use super::rules;
use crate::{
    bounds::{
        MAX_BEAMS, MAX_INLINE_LENGTH, MAX_KEY_LENGTH, MAX_NEW_TOKENS, MAX_PATTERN_LENGTH,
        MAX_PATTERNS, MAX_PERMILLE, MAX_PROMPT_LENGTH, MAX_TOP_K,
    },
    schema,
};
use k8s_openapi::ByteString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Source of the picture, or of a batch of pictures (prefix, manifest, archives). Exactly one field must
/// be set.
// Never a URL elsewhere: runners reach the bucket alone (docs/src/security.md).
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::exactly_one_at_creation)]
pub enum Input {
    /// Picture uploaded through the API for this namespace. Set by `POST /v1/jobs`.
    Upload {
        /// SHA-256 of the picture: 64 lower-case hexadecimal digits.
        #[schemars(length(min = 64, max = 64))]
        #[schemars(extend("x-kubernetes-validations" = [rules::sha256()]))]
        sha256: String,
    },
    /// Existing object in the bucket, below `data/<namespace>/`.
    Object {
        /// Path below `data/<the job's namespace>/`, such as `cats/1.jpg`. Normalised, at most 512
        /// characters.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("key", "data/<namespace>/")]))]
        key: String,
    },
    /// The picture itself, so that the job is a single YAML file.
    Inline {
        /// Picture of at most 64 KiB, base64-encoded on one line (`base64 -w0 picture.jpg`).
        // Not `format: byte`: the API server's CEL reads that as URL-safe base64 and fails any
        // rule that looks at a `+` or `/`, the immutability of the input among them.
        #[schemars(with = "String", length(min = 4, max = MAX_INLINE_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [rules::inline_data()]))]
        data: ByteString,
    },
    /// Batch of every picture below a prefix of the bucket. Objects whose names are not those of pictures
    /// are skipped and counted.
    Prefix {
        /// Path below `data/<the job's namespace>/`, without the final `/`, such as `cats/2026`.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("prefix", "data/<namespace>/")]))]
        prefix: String,
        /// Patterns of the names to take, relative to the prefix, such as `*.jpg` or `2026/**`. `*` does not
        /// match a `/`, `**` does. All pictures are taken if this is omitted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = MAX_PATTERNS), inner(length(min = 1, max = MAX_PATTERN_LENGTH)))]
        include: Vec<String>,
        /// Patterns of the names to leave out, as in `include`, which they override.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = MAX_PATTERNS), inner(length(min = 1, max = MAX_PATTERN_LENGTH)))]
        exclude: Vec<String>,
    },
    /// Batch of the pictures that an object lists.
    Manifest {
        /// Path below `data/<the job's namespace>/` of JSON Lines with the members key, id and parameters,
        /// of which the last two may be absent, or of CSV with such a header, if its name ends with `.csv`
        /// or `.csv.gz`. If it ends with `.gz`, it is decompressed.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("key", "data/<namespace>/")]))]
        key: String,
    },
    /// Batch of the pictures in tar archives, in the convention of `WebDataset`.
    Archives {
        /// Path below `data/<the job's namespace>/`, without the final `/`, of the archives, whose names end
        /// with `.tar`.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("prefix", "data/<namespace>/")]))]
        prefix: String,
    },
}

impl Input {
    /// Whether this is a batch of pictures.
    pub fn is_batch(&self) -> bool {
        match self {
            Self::Upload { .. } | Self::Object { .. } | Self::Inline { .. } => false,
            Self::Prefix { .. } | Self::Manifest { .. } | Self::Archives { .. } => true,
        }
    }
}

impl fmt::Debug for Input {
    /// Omits the picture's bytes, so that they do not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upload { sha256 } => write!(f, "Upload({sha256})"),
            Self::Object { key } => write!(f, "Object({key:?})"),
            Self::Inline { data } => write!(f, "Inline({} bytes)", data.0.len()),
            Self::Prefix {
                prefix,
                include,
                exclude,
            } => write!(f, "Prefix({prefix:?}, {include:?}, not {exclude:?})"),
            Self::Manifest { key } => write!(f, "Manifest({key:?})"),
            Self::Archives { prefix } => write!(f, "Archives({prefix:?})"),
        }
    }
}

/// Parameters of a task. Each belongs to one task and is rejected with another. An omitted
/// parameter takes the model's own default.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// image-to-text: maximum number of tokens to generate, not counting the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_NEW_TOKENS))]
    pub max_new_tokens: Option<u32>,

    /// image-to-text: number of beams of the beam search. 1 means greedy decoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_BEAMS))]
    pub num_beams: Option<u32>,

    /// image-to-text: text that the caption starts with, such as `a photo of`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_PROMPT_LENGTH))]
    pub prompt: Option<String>,

    /// image-classification: number of labels to return, highest score first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_TOP_K))]
    pub top_k: Option<u32>,

    /// object-detection: minimum score of an object, in thousandths: 900 means 0.9.
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
