//! What a runner's pod may be told. There is no hostPath, no service account and no way to hand a
//! Secret in: a runner holds no credential.

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

/// The runners' pods.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerTemplate {
    /// The runner's image. Left out: the installation's, for the pool's device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_IMAGE_LENGTH))]
    pub image: Option<String>,

    /// Requests and limits, such as `nvidia.com/gpu: 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_NODE_SELECTOR))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_TOLERATIONS))]
    pub tolerations: Vec<Toleration>,

    /// Which nodes, and which neighbours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Such as `nvidia`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("runtimeClassName"))]
    pub runtime_class_name: Option<String>,

    /// Which pods give way to these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("priorityClassName"))]
    pub priority_class_name: Option<String>,

    /// Where runners keep weights. Left out: an emptyDir without a size limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_volume: Option<CacheVolume>,

    /// Plain environment variables; values from Secrets are not offered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = crate::bounds::MAX_ENV))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
}

/// Where runners keep weights; exactly one of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::exactly_one)]
pub enum CacheVolume {
    /// A directory that lives as long as the pod.
    #[serde(rename_all = "camelCase")]
    EmptyDir {
        /// How large it may grow, such as `20Gi`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_limit: Option<Quantity>,
    },
    /// A claim in the pool's namespace, which outlives pods and can be shared.
    #[serde(rename_all = "camelCase")]
    PersistentVolumeClaim {
        /// The claim's name.
        #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
        #[schemars(extend("x-kubernetes-validations" = [crate::rules::subdomain("claimName")]))]
        claim_name: String,
    },
}

/// One environment variable.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name; `FOVEA_` ones are the operator's.
    #[schemars(length(min = 1, max = MAX_ENV_NAME_LENGTH))]
    #[x_kube(validation = rules::env_name())]
    pub name: String,
    /// Its value.
    #[serde(default)]
    #[schemars(length(max = MAX_ENV_VALUE_LENGTH))]
    pub value: String,
}
