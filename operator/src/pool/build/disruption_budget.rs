//! The `PodDisruptionBudget`: a drain of nodes takes one runner at a time.

use super::Subject;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// It never blocks a drain: one runner may always be evicted, and unready ones do not count.
pub(crate) fn disruption_budget(subject: &Subject<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: subject.metadata(),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(subject.selector()),
                match_expressions: None,
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            min_available: None,
        }),
        status: None,
    }
}
