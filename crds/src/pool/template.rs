//! The part of a runner's pod that a user may set. There is no hostPath, no service account and no
//! Secret in the pod: a runner holds no credential. Pull Secrets are used by the kubelet.

use super::{SecretRef, rules};
use crate::{
    bounds::{
        MAX_ANNOTATION_LENGTH, MAX_ENV_NAME_LENGTH, MAX_ENV_VALUE_LENGTH, MAX_IMAGE_LENGTH,
        MAX_LABEL_LENGTH, MAX_NAME_LENGTH, MAX_NODE_SELECTOR, MAX_POD_METADATA, MAX_PULL_SECRETS,
        MAX_RESOURCE_CLAIMS, MAX_TOLERATIONS,
    },
    schema,
};
use k8s_openapi::{
    api::core::v1::{Affinity, ResourceRequirements, Toleration},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Template of the runners' pods.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::declared_claims())]
pub struct RunnerTemplate {
    /// Labels of the pods, beside the operator's own, such as Kueue's `kueue.x-k8s.io/queue-name`.
    /// The prefixes `fovea.dev/` and `app.kubernetes.io/` are reserved for the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = labels_schema)]
    pub labels: BTreeMap<String, String>,

    /// Annotations of the pods, beside the operator's own. The prefixes `fovea.dev/` and
    /// `app.kubernetes.io/` are reserved for the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = annotations_schema)]
    pub annotations: BTreeMap<String, String>,

    /// Image of the runner. Defaults to the installation's image for the pool's device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_IMAGE_LENGTH))]
    pub image: Option<String>,

    /// Secrets in the pool's namespace with which the kubelet pulls the image and the models' images,
    /// beside those of the operator's --runner-image-pull-secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_PULL_SECRETS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<SecretRef>,

    /// Resource requests and limits of the runner, such as `nvidia.com/gpu: 1`. Each of its claims
    /// must be one of resourceClaims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = resources_schema)]
    pub resources: Option<ResourceRequirements>,

    /// Claims of devices that are allocated before the pod starts (dynamic resource allocation). The
    /// runner gets those that resources.claims names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_RESOURCE_CLAIMS))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub resource_claims: Vec<PodResourceClaim>,

    /// Scheduler of the pods. Defaults to the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    pub scheduler_name: Option<String>,

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

/// Claim of devices for each pod. Either resourceClaimName or resourceClaimTemplateName must be set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::one_claim())]
pub struct PodResourceClaim {
    /// Name of the claim in resources.claims.
    #[schemars(length(min = 1, max = MAX_LABEL_LENGTH))]
    #[x_kube(validation = crate::rules::label("resourceClaims[].name"))]
    pub name: String,
    /// `ResourceClaim` in the pool's namespace that all pods share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("resourceClaimName"))]
    pub resource_claim_name: Option<String>,
    /// `ResourceClaimTemplate` in the pool's namespace from which each pod gets a claim of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_NAME_LENGTH))]
    #[x_kube(validation = crate::rules::subdomain("resourceClaimTemplateName"))]
    pub resource_claim_template_name: Option<String>,
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

fn labels_schema(map: &mut Schema) {
    metadata_schema(map, MAX_LABEL_LENGTH);
    schema::add_rules(map, rules::pod_keys("labels", &["pod-template-hash"]));
    schema::add_rules(map, [rules::label_values()]);
}

fn annotations_schema(map: &mut Schema) {
    metadata_schema(map, MAX_ANNOTATION_LENGTH);
    let reserved = [
        "kubectl.kubernetes.io/default-container",
        "controller.kubernetes.io/pod-deletion-cost",
    ];
    schema::add_rules(map, rules::pod_keys("annotations", &reserved));
}

fn metadata_schema(map: &mut Schema, max_value_length: u32) {
    map.insert("maxProperties".into(), json!(MAX_POD_METADATA));
    map.insert(
        "additionalProperties".into(),
        json!({"type": "string", "maxLength": max_value_length}),
    );
}

/// Bounds the claims, so that the API server can bound the cost of the rule about them.
fn resources_schema(resources: &mut Schema) {
    // The type's schema, or the one of an optional field.
    for path in ["/properties/claims", "/anyOf/0/properties/claims"] {
        if let Some(Value::Object(claims)) = resources.pointer_mut(path) {
            claims.insert("maxItems".into(), json!(MAX_RESOURCE_CLAIMS));
        }
    }
}
