//! The observed state of a pool, and the only part that the operator writes.

use super::RunnerPool;
use crate::{
    bounds::{
        MAX_LABEL_LENGTH, MAX_MODELS, MAX_REVISION_LENGTH, MAX_SELECTOR_LENGTH, MAX_SOURCE_LENGTH,
    },
    clip::clip,
    conditions, schema,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Observed state of the pool. Only the operator writes it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::structural, transform = unobserved)]
pub struct RunnerPoolStatus {
    /// Generation of the spec that this status was computed from; -1 until the operator has written a
    /// status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,

    /// Number of runners, ready or not.
    #[serde(default)]
    pub replicas: u32,

    /// Number of runners that serve every model.
    #[serde(default)]
    pub ready_replicas: u32,

    /// Label selector of the pool's pods, in the format of `kubectl get pods -l`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SELECTOR_LENGTH))]
    pub selector: Option<String>,

    /// Number of jobs that wait for this pool.
    #[serde(default)]
    pub queued: u32,

    /// Number of jobs that run on its runners.
    #[serde(default)]
    pub running: u32,

    /// State of each model of the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_MODELS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub models: Vec<ModelStatus>,

    /// Conditions of the pool: Ready, Progressing and Degraded; Reconciling while a change is under way,
    /// or Stalled if the pool does not get what its spec asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions::schema")]
    pub conditions: Vec<Condition>,
}

fn unobserved(schema: &mut Schema) {
    let status = json!({"observedGeneration": conditions::UNOBSERVED});
    schema.insert("default".to_owned(), status);
}

impl RunnerPool {
    /// The status that the operator has written; `None` before it has written one.
    pub fn written_status(&self) -> Option<&RunnerPoolStatus> {
        let status = self.status.as_ref();
        status.filter(|status| status.observed_generation != Some(conditions::UNOBSERVED))
    }
}

impl RunnerPoolStatus {
    /// The status within the bounds of the schema. The operator clips every status before it writes
    /// it, since a model's revision is what a runner answered.
    #[must_use]
    pub fn clipped(mut self) -> Self {
        self.conditions = conditions::clipped(self.conditions);
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

/// State of one model of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelStatus {
    /// Name of the model in the pool.
    #[schemars(length(max = MAX_LABEL_LENGTH))]
    pub name: String,
    /// Revision of the weights that the runners report: a commit of the Hugging Face repository, or
    /// `sha256:<digest>` of the weights file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_REVISION_LENGTH))]
    pub revision: Option<String>,
    /// Repository and revision of the spec, as `<repo>@<revision>`. Set once the operator has
    /// resolved it to a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_SOURCE_LENGTH))]
    pub source: Option<String>,
    /// Commit that source was resolved to. It stays even if the branch moves; change the revision in
    /// the spec to resolve it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_LABEL_LENGTH))]
    pub commit: Option<String>,
    /// Whether a runner serves the model.
    pub ready: bool,
}
