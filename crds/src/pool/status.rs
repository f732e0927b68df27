//! What the operator tells about a pool.

use crate::{
    bounds::{
        MAX_LABEL_LENGTH, MAX_MODELS, MAX_REVISION_LENGTH, MAX_SELECTOR_LENGTH, MAX_SOURCE_LENGTH,
    },
    clip::{self, clip},
    conditions, schema,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Written by the operator alone.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::structural)]
pub struct RunnerPoolStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,

    /// Runners that there are.
    #[serde(default)]
    pub replicas: u32,

    /// Runners that serve every model.
    #[serde(default)]
    pub ready_replicas: u32,

    /// Which pods they are, as `kubectl get pods -l` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SELECTOR_LENGTH))]
    pub selector: Option<String>,

    /// Jobs that wait for this pool.
    #[serde(default)]
    pub queued: u32,

    /// Jobs that its runners have.
    #[serde(default)]
    pub running: u32,

    /// The models, one entry each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_MODELS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub models: Vec<ModelStatus>,

    /// Ready, Progressing and Degraded, each with a reason and a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,
}

impl RunnerPoolStatus {
    /// The status as the API server takes it. The operator writes nothing that has not been
    /// through here: a model's revision is what a runner answered.
    #[must_use]
    pub fn clipped(mut self) -> Self {
        self.conditions = clip::conditions(self.conditions);
        self.models.truncate(MAX_MODELS as usize);
        for ModelStatus {
            name: _,
            revision,
            source,
            commit: _,
            ready: _,
        } in &mut self.models
        {
            *revision = revision.take().map(|text| clip(&text, MAX_REVISION_LENGTH));
            *source = source.take().map(|text| clip(&text, MAX_SOURCE_LENGTH));
        }
        self
    }
}

/// One model of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelStatus {
    /// The pool's name for it.
    #[schemars(length(max = MAX_LABEL_LENGTH))]
    pub name: String,
    /// Which weights, once a runner has told: a hub commit, or `sha256:<digest>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_REVISION_LENGTH))]
    pub revision: Option<String>,
    /// The hub's repository and revision that the spec names, `<repo>@<revision>`, once it has been
    /// resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SOURCE_LENGTH))]
    pub source: Option<String>,
    /// The commit that `source` stands for in this pool, also when a branch has moved since; write
    /// another revision to have it resolved again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_LABEL_LENGTH))]
    pub commit: Option<String>,
    /// Whether a runner serves it.
    pub ready: bool,
}
