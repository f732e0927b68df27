//! One model of a pool, and where its weights come from.

use super::rules;
use crate::{
    Task,
    bounds::{MAX_BATCH_SIZE, MAX_KEY_LENGTH, MAX_LABEL_LENGTH, MAX_NAME_LENGTH},
    schema,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model that every runner of the pool keeps resident.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolModel {
    /// What jobs call it.
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = crate::rules::label("name"))]
    pub name: String,

    /// What it does.
    pub task: Task,

    /// Jobs of this task that name no model get this one. A task's only model is its default
    /// without this.
    #[serde(default)]
    pub default: bool,

    /// Where its weights come from. Only the models of an external pool, whose runners load
    /// their own, may leave this out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ModelSource>,

    /// The type of its numbers; auto: bfloat16 on a GPU that has it, else float32.
    #[serde(default)]
    pub dtype: Dtype,

    /// How many pictures may share one pass.
    #[serde(default = "default_max_batch_size")]
    #[schemars(range(min = 1, max = MAX_BATCH_SIZE))]
    pub max_batch_size: u32,
}

/// Where weights come from; exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::exactly_one)]
pub enum ModelSource {
    /// A repository of the Hugging Face hub.
    #[serde(rename_all = "camelCase")]
    HuggingFace {
        /// Its name, such as `Salesforce/blip-image-captioning-base`.
        #[schemars(length(min = 1, max = 193))]
        #[schemars(extend("x-kubernetes-validations" = [rules::repository()]))]
        repo: String,
        /// A commit, tag or branch. Write the commit to get the same weights every time.
        #[serde(default = "default_revision")]
        #[schemars(length(min = 1, max = crate::bounds::MAX_REVISION_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [rules::revision()]))]
        revision: String,
        /// A Secret in the pool's namespace with the hub's token under the key `token`, for
        /// gated repositories.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_secret_ref: Option<SecretRef>,
    },
    /// Files in the bucket, in the hub's layout.
    Object {
        /// Their path below `models/`, such as `my-org/my-model/v1`.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("prefix", "models/")]))]
        prefix: String,
    },
    /// Files on the claim that spec.template.cacheVolume names, in the hub's layout.
    Volume {
        /// Their path on the volume, such as `blip-base`.
        #[schemars(length(min = 1, max = MAX_KEY_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::object_path("path", "the cache volume")]))]
        path: String,
    },
}

/// The type of a model's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// bfloat16 on a GPU that has it, else float32.
    #[default]
    Auto,
    /// 32 bits.
    Float32,
    /// 16 bits with float32's range.
    Bfloat16,
    /// 16 bits with more digits and less range.
    Float16,
}

/// Names a Secret in the pool's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// The Secret's name.
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
