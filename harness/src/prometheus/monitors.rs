//! Reads the monitors and rules of a cluster.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::PrometheusError;
use super::scrape::{Authority, Kind, Monitor, Spec};
use crate::cluster::{ClusterError, ControlPlane};
use fovea_setup::NotBuilt;
use fovea_setup::cache::Cache;
use fovea_setup::chart_crds;

/// Files in [`chart_crds`].
const DEFINITIONS: [&str; 3] = ["servicemonitors", "podmonitors", "prometheusrules"];

/// Defines `ServiceMonitors`, `PodMonitors` and `PrometheusRules`, as the Prometheus operator does.
///
/// Fails if `fovea-setup --only chart` has not downloaded the definitions.
pub async fn install_definitions(plane: &ControlPlane) -> Result<(), ClusterError> {
    let folder = chart_crds::folder(&Cache::from_env()?);
    if !folder.is_dir() {
        return Err(NotBuilt { path: folder }.into());
    }
    let files = DEFINITIONS.map(|name| {
        let file = folder.join(format!("monitoring.coreos.com_{name}.yaml"));
        format!("--filename={}", file.display())
    });
    let [services, pods, rules] = &files;
    let apply = ["apply", "--server-side", services, pods, rules];
    plane.kubectl(&apply).await?.success("apply")?;
    let established = "wait --for=condition=Established --timeout=60s crd --all";
    plane.kubectl_line(established).await.map(drop)
}

pub async fn rules(plane: &ControlPlane) -> Result<Vec<Value>, PrometheusError> {
    let found = list(&plane.client().await?, "PrometheusRule").await?;
    Ok(found.into_iter().map(spec_of).collect())
}

/// Scrape configurations of every `ServiceMonitor` and `PodMonitor`, translated as by the Prometheus
/// operator. `interval` replaces the monitors' own intervals. The result contains certificate authorities:
/// call this again after one is renewed.
pub async fn scrape_configs(
    plane: &ControlPlane,
    interval: Option<Duration>,
) -> Result<Vec<Value>, PrometheusError> {
    let client = plane.client().await?;
    let kinds = [("ServiceMonitor", Kind::Service), ("PodMonitor", Kind::Pod)];
    let mut configs = Vec::new();
    for (kind_name, kind) in kinds {
        for object in list(&client, kind_name).await? {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            let refused = |why: String| PrometheusError::Monitor {
                kind: kind_name,
                name: format!("{namespace}/{name}"),
                why,
            };
            let spec: Spec = serde_json::from_value(spec_of(object))
                .map_err(|error| refused(error.to_string()))?;
            let monitor = Monitor {
                kind,
                namespace: &namespace,
                name: &name,
                spec: &spec,
                kubeconfig: plane.kubeconfig(),
                interval,
            };
            for (number, endpoint) in spec.endpoints.iter().enumerate() {
                let tls = endpoint.tls_config.as_ref();
                let ca = match tls.and_then(|tls| tls.ca.as_ref()) {
                    Some(Authority { secret }) => {
                        let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
                        let found = secrets
                            .get(&secret.name)
                            .await
                            .map_err(ClusterError::from)?;
                        let value = found.data.unwrap_or_default().remove(&secret.key);
                        let missing = || format!("no {} in the Secret {}", secret.key, secret.name);
                        let pem = value.ok_or_else(|| refused(missing()))?;
                        Some(String::from_utf8_lossy(&pem.0).into_owned())
                    }
                    None => None,
                };
                configs.push(monitor.configuration(number, endpoint, ca.as_deref()));
            }
        }
    }
    Ok(configs)
}

fn spec_of(mut object: DynamicObject) -> Value {
    object.data["spec"].take()
}

async fn list(client: &Client, kind: &str) -> Result<Vec<DynamicObject>, ClusterError> {
    let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    Ok(api.list(&ListParams::default()).await?.items)
}
