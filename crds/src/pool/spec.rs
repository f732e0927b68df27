//! What a pool's owner asks for.

use super::{PoolModel, RunnerPoolStatus, RunnerTemplate, SecretRef, rules};
use crate::{
    bounds::{
        MAX_AUTOSCALING_SECONDS, MAX_ENDPOINT_LENGTH, MAX_ENDPOINTS, MAX_IN_FLIGHT, MAX_MODELS,
        MAX_REPLICAS, MAX_WEIGHT, MAX_WEIGHTS,
    },
    schema,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// Runners that keep the same models resident: pods that the operator makes, or servers that
/// run elsewhere (`external`).
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fovea.dev",
    version = "v1alpha1",
    kind = "RunnerPool",
    plural = "runnerpools",
    shortname = "rp",
    category = "fovea",
    namespaced,
    doc = "Runners that keep the same models resident, and who may use them.",
    status = "RunnerPoolStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Runners that serve every model."
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Queued", type_ = "integer", json_path = ".status.queued"),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.running"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::structural)]
#[x_kube(
    validation = rules::replicas_or_autoscaling(),
    validation = rules::external_or_replicas(),
    validation = rules::external_or("autoscaling"),
    validation = rules::external_or("template"),
    validation = rules::external_or_source(),
    validation = rules::volume_needs_claim(),
)]
pub struct RunnerPoolSpec {
    /// What the runners serve.
    #[schemars(length(min = 1, max = MAX_MODELS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = rules::one_default_a_task())]
    pub models: Vec<PoolModel>,

    /// How many runners; the target of `kubectl scale`. It has no meaning, and stays 1, where
    /// autoscaling or external is set.
    #[serde(default = "default_replicas")]
    #[schemars(range(max = MAX_REPLICAS))]
    pub replicas: u32,

    /// Let the queue decide how many runners, instead of replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,

    /// What the models run on; auto: a GPU where the runner finds one, else the processor.
    #[serde(default)]
    pub device: Device,

    /// The runners' pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<RunnerTemplate>,

    /// Runners that run elsewhere, instead of pods: a bare GPU server, a laptop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,

    /// Whose jobs the pool takes.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,

    /// How namespaces share the pool.
    #[serde(default, skip_serializing_if = "Fairness::is_empty")]
    pub fairness: Fairness,
}

impl RunnerPoolSpec {
    /// A pool with the defaults that the API server would fill in.
    pub fn new(models: Vec<PoolModel>) -> Self {
        Self {
            models,
            replicas: default_replicas(),
            autoscaling: None,
            device: Device::default(),
            template: None,
            external: None,
            allowed_namespaces: AllowedNamespaces::default(),
            fairness: Fairness::default(),
        }
    }
}

/// How the queue decides the number of runners.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::min_below_max())]
pub struct Autoscaling {
    /// The fewest; 0: none while there is nothing to do.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(max = MAX_REPLICAS))]
    pub min: u32,

    /// The most.
    #[schemars(range(min = 1, max = MAX_REPLICAS))]
    pub max: u32,

    /// How long there must be nothing to do before the last runners go, in seconds; others go once
    /// they have not been needed for five minutes.
    #[serde(default = "default_idle_seconds")]
    #[schemars(range(min = 1, max = MAX_AUTOSCALING_SECONDS))]
    pub idle_seconds: u32,

    /// How long a job should wait at most, in seconds; a longer queue gets more runners.
    #[serde(default = "default_target_queue_seconds")]
    #[schemars(range(min = 1, max = MAX_AUTOSCALING_SECONDS))]
    pub target_queue_seconds: u32,
}

/// What models run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A GPU where the runner finds one, else the processor.
    #[default]
    Auto,
    /// An NVIDIA GPU, or the runner does not start.
    Cuda,
    /// The processor.
    Cpu,
}

/// Runners that Fovea does not start.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// Their base URLs, such as `https://gpu-1.example.com:8443`. Each host must be on the
    /// operator's allow-list; http is taken on loopback only.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = MAX_ENDPOINTS), transform = endpoints_schema)]
    pub endpoints: Vec<String>,

    /// A Secret of type `fovea.dev/runner-token` in the pool's namespace, with the runners'
    /// bearer token under the key `token` and the hosts that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretRef>,

    /// A Secret in the pool's namespace with the runners' certificate authority under the key
    /// `ca.crt`. Left out: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
}

/// Whose jobs a pool takes.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::selector())]
pub struct AllowedNamespaces {
    /// Same: the pool's own namespace; All: every one; Selector: those that selector matches.
    #[serde(default)]
    pub from: FromNamespaces,

    /// Labels of namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FromNamespaces {
    /// The pool's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// Those that a selector matches.
    Selector,
}

/// How namespaces share a pool.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fairness {
    /// Shares by namespace, 1 to 1000: one with 3 gets three turns where one with 1 gets one.
    /// A namespace that is not named has 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = weights_schema)]
    #[x_kube(validation = rules::weights())]
    pub weights: BTreeMap<String, u32>,

    /// How many jobs of one namespace may run at once. Left out: as many as there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_IN_FLIGHT))]
    pub max_in_flight: Option<u32>,
}

impl Fairness {
    /// Whether all namespaces are equal and unbounded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn default_replicas() -> u32 {
    1
}

fn default_min_replicas() -> u32 {
    1
}

fn default_idle_seconds() -> u32 {
    300
}

fn default_target_queue_seconds() -> u32 {
    30
}

fn endpoints_schema(list: &mut Schema) {
    list.insert(
        "items".into(),
        json!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ENDPOINT_LENGTH,
            "x-kubernetes-validations": [rules::endpoint(), rules::endpoint_scheme()],
        }),
    );
}

fn weights_schema(map: &mut Schema) {
    map.insert("maxProperties".into(), json!(MAX_WEIGHTS));
    map.insert(
        "additionalProperties".into(),
        json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_WEIGHT}),
    );
}
