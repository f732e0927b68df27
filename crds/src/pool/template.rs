//! The part of a runner's pod that a user may set. There is no hostPath, no service account and no
//! reference to a Secret: a runner holds no credential.

use super::rules;
use crate::{
    bounds::{
        MAX_ENV_NAME_LENGTH, MAX_ENV_VALUE_LENGTH, MAX_IMAGE_LENGTH, MAX_NAME_LENGTH,
        MAX_NODE_SELECTOR, MAX_TOLERATIONS,
    },
    schema,
};
use k8s_openapi::{
    api::core::v1::{Affinity, ResourceRequirements, Toleration},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Template of the runners' pods.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerTemplate {
    /// Image of the runner. Defaults to the installation's image for the pool's device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_IMAGE_LENGTH))]
    pub image: Option<String>,

    /// Resource requests and limits of the runner, such as `nvidia.com/gpu: 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// Labels that a node must have to run the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_NODE_SELECTOR))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_TOLERATIONS))]
    pub tolerations: Vec<Toleration>,

    /// Scheduling rules for the pods: node affinity and pod (anti-)affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Runtime class of the pods, such as `nvidia`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("runtimeClassName"))]
    pub runtime_class_name: Option<String>,

    /// Priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("priorityClassName"))]
    pub priority_class_name: Option<String>,

    /// Volume that the runners cache weights on. Defaults to an emptyDir with the operator's size limit (--runner-cache-size-limit, 64Gi).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_volume: Option<CacheVolume>,

    /// Additional environment variables, as plain values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = crate::bounds::MAX_ENV))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
}

/// Volume that runners cache weights on. Exactly one field must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::exactly_one)]
pub enum CacheVolume {
    /// Directory with the lifetime of the pod.
    #[serde(rename_all = "camelCase")]
    EmptyDir {
        /// Maximum size, such as `20Gi`, beyond which the pod is evicted. Defaults to the operator's --runner-cache-size-limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_limit: Option<Quantity>,
    },
    /// Persistent volume claim in the pool's namespace. It outlives the pods, and they can share it.
    #[serde(rename_all = "camelCase")]
    PersistentVolumeClaim {
        /// Name of an existing claim in the pool's namespace.
        #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::subdomain("claimName")]))]
        claim_name: String,
    },
}

/// Environment variable of the runner.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Name of the variable. Names that start with `FOVEA_` are reserved for the operator.
    #[schemars(length(min = 1, max = MAX_ENV_NAME_LENGTH))]
    #[x_kube(validation = rules::env_name())]
    pub name: String,
    /// Value of the variable; empty if it is absent.
    #[serde(default)]
    #[schemars(length(max = MAX_ENV_VALUE_LENGTH))]
    pub value: String,
}
