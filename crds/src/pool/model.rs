//! One model of a pool, and where its weights come from.

use super::rules;
use crate::{
    Task,
    bounds::{MAX_BATCH_SIZE, MAX_IMAGE_LENGTH, MAX_KEY_LENGTH, MAX_LABEL_LENGTH, MAX_NAME_LENGTH},
    schema,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Model that every runner of the pool keeps loaded.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolModel {
    /// Name that jobs use in spec.model.
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = crate::rules::label("name"))]
    pub name: String,

    /// Task that the model performs.
    pub task: Task,

    /// Whether jobs of this task that name no model use this one. The only model of a task is its
    /// default in any case.
    #[serde(default)]
    pub default: bool,

    /// Source of the weights. Required, except in an external pool, whose runners load their own
    /// models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelSource>,

    /// Data type of the weights and activations. auto: bfloat16 on a GPU that supports it, else
    /// float32.
    #[serde(default)]
    pub dtype: Dtype,

    /// Maximum number of pictures in one forward pass.
    #[serde(default = "default_max_batch_size")]
    #[schemars(range(min = 1, max = MAX_BATCH_SIZE))]
    pub max_batch_size: u32,
}

/// Source of a model's weights. Exactly one field must be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::exactly_one)]
pub enum ModelSource {
    /// Repository on the Hugging Face Hub.
    #[serde(rename_all = "camelCase")]
    HuggingFace {
        /// Name of the repository, such as `Salesforce/blip-image-captioning-base`.
        #[schemars(length(min = 1, max = 193))]
        #[schemars(extend("x-kubernetes-validations" = [rules::repository()]))]
        repo: String,
        /// Commit, tag or branch. Use a commit to get the same weights every time.
        #[serde(default = "default_revision")]
        #[schemars(length(min = 1, max = crate::bounds::MAX_REVISION_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [rules::revision()]))]
        revision: String,
        /// Secret in the pool's namespace that holds an access token for the Hugging Face Hub under
        /// the key `token`, for gated repositories.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_secret_ref: Option<SecretRef>,
    },
    /// Files in the bucket, laid out as in a Hugging Face repository.
    Object {
        /// Prefix of the files below `models/`, such as `my-org/my-model/v1`.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("prefix", "models/")]))]
        prefix: String,
    },
    /// Files on the claim of spec.template.cacheVolume, laid out as in a Hugging Face repository.
    Volume {
        /// Path of the files on the volume, such as `blip-base`.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("path", "the cache volume")]))]
        path: String,
    },
    /// Container image or OCI artifact whose files the kubelet mounts read-only, laid out as in a
    /// Hugging Face repository. Requires Kubernetes 1.35 and containerd 2.1 or CRI-O 1.33.
    #[serde(rename_all = "camelCase")]
    Image {
        /// Reference of the image, such as `registry.example.com/models/blip-base:v1`. Use a digest
        /// to get the same weights every time.
        #[schemars(length(min = 1, max = MAX_IMAGE_LENGTH))]
        reference: String,
        /// When the kubelet pulls the image. Defaults to `Always` for the tag `latest`, else to
        /// `IfNotPresent`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pull_policy: Option<PullPolicy>,
        /// Path of the files in the image, such as `models`. Defaults to its root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("path", "the image's root")]))]
        path: Option<String>,
    },
}

/// When a node's kubelet pulls an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Before each start of a pod.
    Always,
    /// If the node does not have it.
    IfNotPresent,
    /// Never: the node must have it.
    Never,
}

/// Data type of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// bfloat16 on a GPU that supports it, else float32.
    #[default]
    Auto,
    /// 32-bit floating point.
    Float32,
    /// 16-bit floating point with the range of float32.
    Bfloat16,
    /// 16-bit floating point (IEEE half precision).
    Float16,
}

/// Reference to a Secret in the pool's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Name of the Secret in the pool's namespace.
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("a Secret's name"))]
    pub name: String,
}

fn default_max_batch_size() -> u32 {
    8
}

fn default_revision() -> String {
    "main".to_owned()
}
