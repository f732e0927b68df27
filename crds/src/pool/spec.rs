//! The desired state of a pool.

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

/// Desired state of the pool: pods that the operator creates, or servers that run elsewhere
/// (`external`).
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "fovea.dev",
    version = "v1alpha1",
    kind = "RunnerPool",
    plural = "runnerpools",
    shortname = "rp",
    category = "fovea",
    namespaced,
    doc = "RunnerPool is a set of runners that serve the same models, and the namespaces that may use them.",
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
    /// Models that every runner keeps loaded.
    #[schemars(length(min = 1, max = MAX_MODELS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]), validation = rules::one_default_a_task())]
    pub models: Vec<PoolModel>,

    /// Number of runners, and the target of `kubectl scale`. Must be omitted or 1 if autoscaling or
    /// external is set.
    #[serde(default = "default_replicas")]
    #[schemars(range(max = MAX_REPLICAS))]
    pub replicas: u32,

    /// Scales the number of runners with the queue. Mutually exclusive with replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,

    /// Device that the models run on. auto: a GPU if the runner finds one, else the CPU.
    #[serde(default)]
    pub device: Device,

    /// Template of the runners' pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<RunnerTemplate>,

    /// Runners outside the cluster in place of pods, such as a bare GPU server or a laptop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,

    /// Namespaces whose jobs the pool accepts.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,

    /// Division of the pool's capacity among namespaces.
    #[serde(default, skip_serializing_if = "Fairness::is_empty")]
    pub fairness: Fairness,
}

impl RunnerPoolSpec {
    /// A spec with the defaults that the API server fills in.
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

/// Autoscaling by the time that jobs wait.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::min_below_max())]
pub struct Autoscaling {
    /// Minimum number of runners. 0 scales to zero while there is nothing to do.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(max = MAX_REPLICAS))]
    pub min: u32,

    /// Maximum number of runners that the pool is scaled to.
    #[schemars(range(min = 1, max = MAX_REPLICAS))]
    pub max: u32,

    /// Time without work after which the pool scales down to its minimum, in seconds. Other surplus
    /// runners are removed after five minutes.
    #[serde(default = "default_idle_seconds")]
    #[schemars(range(min = 1, max = MAX_AUTOSCALING_SECONDS))]
    pub idle_seconds: u32,

    /// Target for the wait of a job, in seconds. Runners are added while jobs are expected to wait
    /// longer.
    #[serde(default = "default_target_queue_seconds")]
    #[schemars(range(min = 1, max = MAX_AUTOSCALING_SECONDS))]
    pub target_queue_seconds: u32,
}

/// Device that models run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A GPU if the runner finds one, else the CPU.
    #[default]
    Auto,
    /// An NVIDIA GPU. The runner does not start without one.
    Cuda,
    /// The CPU, even if there is a GPU.
    Cpu,
}

/// Runners that Fovea uses but does not start.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// Base URLs of the runners, such as `https://gpu-1.example.com:8443`. Each host must be on the
    /// operator's allow-list; http is allowed on loopback only.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = MAX_ENDPOINTS), transform = endpoints_schema)]
    pub endpoints: Vec<String>,

    /// Secret of type `fovea.dev/runner-token` in the pool's namespace. It holds the runners'
    /// bearer token under the key `token` and the hosts that the token may be sent to under the key
    /// `hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretRef>,

    /// Secret in the pool's namespace that holds the runners' certificate authority under the key
    /// `ca.crt`. Defaults to the public authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
}

/// Namespaces whose jobs a pool accepts.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::selector())]
pub struct AllowedNamespaces {
    /// Same: the pool's own namespace. All: every namespace. Selector: the namespaces that match
    /// selector.
    #[serde(default)]
    pub from: FromNamespaces,

    /// Label selector of namespaces. Required if from is Selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which namespaces may send jobs to a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FromNamespaces {
    /// The pool's own namespace.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// The namespaces that match the selector.
    Selector,
}

/// Division of a pool's capacity among namespaces.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fairness {
    /// Weight of each namespace, 1 to 1000: a namespace with weight 3 gets three times as much time of
    /// the runners as one with weight 1, while both have jobs waiting. The default weight is 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = weights_schema)]
    #[x_kube(validation = rules::weights())]
    pub weights: BTreeMap<String, u32>,

    /// Maximum number of jobs of one namespace that run at the same time. If omitted, a namespace may
    /// use all slots, but one whose jobs take more than four times as long as those of another
    /// namespace gets at most its share of the slots by weight, at least one, until the other has
    /// been idle for a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_IN_FLIGHT))]
    pub max_in_flight: Option<u32>,
}

impl Fairness {
    /// Whether all namespaces have equal weight and no limit.
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
