//! The Deployment of the runners.

use super::pod::template;
use super::{Build, Subject, names};
use crate::pool::rollout::Strategy;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub(crate) use super::pod::models_fingerprint;

/// One old template is kept; templates are made from the pool's spec anyway.
const KEPT_TEMPLATES: i32 = 1;

/// Loading a model may take half an hour.
const PROGRESS_DEADLINE_SECONDS: i32 = 3600;

pub(crate) fn deployment(
    subject: &Subject<'_>,
    build: &Build,
    replicas: u32,
    strategy: Strategy,
) -> Deployment {
    let (max_surge, max_unavailable) = match strategy {
        Strategy::Surge => (1, 0),
        Strategy::Swap => (0, 1),
    };
    Deployment {
        metadata: subject.metadata(),
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector {
                match_labels: Some(subject.selector()),
                match_expressions: None,
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(max_surge)),
                    max_unavailable: Some(IntOrString::Int(max_unavailable)),
                }),
            }),
            template: template(subject, build),
            revision_history_limit: Some(KEPT_TEMPLATES),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE_SECONDS),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

pub(crate) fn template_of(deployment: &Deployment) -> Option<&str> {
    annotation(deployment, names::TEMPLATE)
}

pub(crate) fn models_of(deployment: &Deployment) -> Option<&str> {
    annotation(deployment, names::MODELS)
}

pub(crate) fn replicas_of(deployment: &Deployment) -> Option<u32> {
    u32::try_from(deployment.spec.as_ref()?.replicas?).ok()
}

/// Whether an old runner is removed before its replacement starts.
pub(crate) fn is_swapping(deployment: &Deployment) -> bool {
    let strategy = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    rolling.is_some_and(|rolling| rolling.max_surge == Some(IntOrString::Int(0)))
}

fn annotation<'a>(deployment: &'a Deployment, key: &str) -> Option<&'a str> {
    let template = deployment.spec.as_ref()?.template.metadata.as_ref()?;
    template.annotations.as_ref()?.get(key).map(String::as_str)
}
