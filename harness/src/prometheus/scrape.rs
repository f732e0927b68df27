//! Translates a monitor as the Prometheus operator does: one scrape configuration for each of its endpoints,
//! which discovers its targets in Kubernetes and names them by relabeling. This is the operator's
//! `pkg/prometheus/promcfg.go`, as far as monitors here use it. A field without a translation is an error, so
//! that a test cannot pass with a monitor that the operator would treat otherwise.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyOf {
    pub(super) name: String,
    pub(super) key: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authority {
    pub(super) secret: KeyOf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Tls {
    pub(super) ca: Option<Authority>,
    server_name: Option<String>,
    insecure_skip_verify: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Endpoint {
    port: String,
    path: Option<String>,
    scheme: Option<String>,
    interval: Option<String>,
    scrape_timeout: Option<String>,
    honor_labels: Option<bool>,
    pub(super) tls_config: Option<Tls>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Namespaces {
    #[serde(default)]
    any: bool,
    #[serde(default)]
    match_names: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Spec {
    selector: Selector,
    #[serde(default)]
    namespace_selector: Namespaces,
    job_label: Option<String>,
    #[serde(default)]
    target_labels: Vec<String>,
    #[serde(default)]
    pod_target_labels: Vec<String>,
    #[serde(alias = "podMetricsEndpoints")]
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    Pod,
}

impl Kind {
    fn lower(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Pod => "pod",
        }
    }

    fn role(self) -> &'static str {
        match self {
            Self::Service => "endpointslice",
            Self::Pod => "pod",
        }
    }

    fn port(self) -> &'static str {
        match self {
            Self::Service => "__meta_kubernetes_endpointslice_port_name",
            Self::Pod => "__meta_kubernetes_pod_container_port_name",
        }
    }
}

/// A monitor, and the other inputs of its scrape configuration.
pub(super) struct Monitor<'a> {
    pub(super) kind: Kind,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) spec: &'a Spec,
    pub(super) kubeconfig: &'a Path,
    /// Replaces the endpoints' own intervals, so that a test need not wait for them.
    pub(super) interval: Option<Duration>,
}

impl Monitor<'_> {
    /// The scrape configuration of the endpoint `number`; `ca` is its certificate authority, as PEM.
    pub(super) fn configuration(
        &self,
        number: usize,
        endpoint: &Endpoint,
        ca: Option<&str>,
    ) -> Value {
        let Self {
            kind,
            namespace,
            name,
            spec,
            kubeconfig,
            interval,
        } = self;
        let Endpoint {
            port: _,
            path,
            scheme,
            interval: own,
            scrape_timeout: timeout,
            honor_labels,
            tls_config,
        } = endpoint;
        let kind_name = kind.lower();
        let mut discovery = json!({"role": kind.role(), "kubeconfig_file": kubeconfig});
        let Namespaces { any, match_names } = &spec.namespace_selector;
        if !any && match_names.is_empty() {
            discovery["namespaces"] = json!({"names": [namespace]});
        } else if !any {
            discovery["namespaces"] = json!({"names": match_names});
        }
        let mut config = json!({
            "job_name": format!("{kind_name}Monitor/{namespace}/{name}/{number}"),
            "kubernetes_sd_configs": [discovery],
            "relabel_configs": self.relabeling(endpoint),
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                config[name] = value;
            }
        };
        set("metrics_path", path.as_ref().map(|path| json!(path)));
        set(
            "scheme",
            scheme.as_ref().map(|scheme| json!(scheme.to_lowercase())),
        );
        set("honor_labels", honor_labels.map(|honor| json!(honor)));
        if let Some(interval) = interval {
            set("scrape_interval", Some(json!(duration(*interval))));
        } else {
            set("scrape_interval", own.as_ref().map(|own| json!(own)));
            set(
                "scrape_timeout",
                timeout.as_ref().map(|timeout| json!(timeout)),
            );
        }
        set(
            "tls_config",
            tls_config.as_ref().map(|tls| tls_config_of(tls, ca)),
        );
        config
    }

    fn relabeling(&self, endpoint: &Endpoint) -> Vec<Value> {
        let Self {
            kind,
            namespace,
            name,
            spec,
            kubeconfig: _,
            interval: _,
        } = self;
        let about = |label: &str| {
            let label = sanitize(label);
            format!("__meta_kubernetes_{}_label_{label}", kind.lower())
        };
        let copy = |from: &str, to: &str| json!({"source_labels": [from], "target_label": to});
        let copy_set = |from: &str, to: &str| json!({"source_labels": [from], "target_label": to, "regex": "(.+)"});
        let mut rules = Vec::new();
        for (label, value) in &spec.selector.match_labels {
            let present = about(label).replacen("_label_", "_labelpresent_", 1);
            rules.push(json!({
                "action": "keep", "source_labels": [about(label), present],
                "regex": format!("({value});true"),
            }));
        }
        rules.push(
            json!({"action": "keep", "source_labels": [kind.port()], "regex": endpoint.port}),
        );
        // A pod that has ended still has an address.
        rules.push(json!({
            "action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"],
            "regex": "(Failed|Succeeded)",
        }));
        rules.push(copy("__meta_kubernetes_namespace", "namespace"));
        rules.push(copy("__meta_kubernetes_pod_container_name", "container"));
        rules.push(copy("__meta_kubernetes_pod_name", "pod"));
        if *kind == Kind::Service {
            rules.push(copy("__meta_kubernetes_service_name", "service"));
            rules.push(copy("__meta_kubernetes_service_name", "job"));
        } else {
            rules
                .push(json!({"target_label": "job", "replacement": format!("{namespace}/{name}")}));
        }
        for label in &spec.target_labels {
            let from = format!("__meta_kubernetes_service_label_{}", sanitize(label));
            rules.push(copy_set(&from, &sanitize(label)));
        }
        for label in &spec.pod_target_labels {
            let from = format!("__meta_kubernetes_pod_label_{}", sanitize(label));
            rules.push(copy_set(&from, &sanitize(label)));
        }
        if let Some(label) = &spec.job_label {
            rules.push(copy_set(&about(label), "job"));
        }
        rules.push(json!({"target_label": "endpoint", "replacement": endpoint.port}));
        rules
    }
}

fn tls_config_of(tls: &Tls, ca: Option<&str>) -> Value {
    let mut config = Map::new();
    let fields = [
        ("ca", ca.map(|ca| json!(ca))),
        (
            "server_name",
            tls.server_name.as_ref().map(|name| json!(name)),
        ),
        (
            "insecure_skip_verify",
            tls.insecure_skip_verify.map(|skip| json!(skip)),
        ),
    ];
    for (name, value) in fields {
        config.extend(value.map(|value| (name.to_owned(), value)));
    }
    config.into()
}

/// The Prometheus label for a Kubernetes label of this name.
fn sanitize(label: &str) -> String {
    label.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_")
}

/// The duration in Prometheus' format, such as `500ms`.
pub(super) fn duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(kind: Kind, spec: Value) -> Result<Value, serde_json::Error> {
        let spec: Spec = serde_json::from_value(spec)?;
        let monitor = Monitor {
            kind,
            namespace: "fovea-system",
            name: "fovea",
            spec: &spec,
            kubeconfig: Path::new("/kubeconfig"),
            interval: Some(Duration::from_millis(500)),
        };
        Ok(monitor.configuration(0, &spec.endpoints[0], Some("PEM")))
    }

    #[test]
    fn a_service_monitor_keeps_the_port_of_its_services_and_names_the_job_by_a_label() {
        let config = configuration(
            Kind::Service,
            json!({
                "jobLabel": "fovea.dev/scrape",
                "selector": {"matchLabels": {"app.kubernetes.io/name": "fovea"}},
                "endpoints": [{"port": "metrics", "interval": "30s", "scrapeTimeout": "10s"}],
            }),
        )
        .unwrap();
        assert_eq!(config["kubernetes_sd_configs"][0]["role"], "endpointslice");
        assert_eq!(config["scrape_interval"], "500ms");
        assert_eq!(
            config["scrape_timeout"],
            Value::Null,
            "it may not be longer"
        );
        let rules = config["relabel_configs"].as_array().unwrap();
        let selected = json!({
            "action": "keep", "regex": "(fovea);true",
            "source_labels": [
                "__meta_kubernetes_service_label_app_kubernetes_io_name",
                "__meta_kubernetes_service_labelpresent_app_kubernetes_io_name",
            ],
        });
        assert!(rules.contains(&selected), "{rules:#?}");
        let job = json!({
            "source_labels": ["__meta_kubernetes_service_label_fovea_dev_scrape"],
            "target_label": "job", "regex": "(.+)",
        });
        assert!(rules.contains(&job), "{rules:#?}");
    }

    #[test]
    fn a_pod_monitor_scrapes_over_tls_by_a_name_of_the_certificate() {
        let config = configuration(
            Kind::Pod,
            json!({
                "selector": {"matchLabels": {"fovea.dev/pool": "default"}},
                "podTargetLabels": ["fovea.dev/pool"],
                "podMetricsEndpoints": [{
                    "port": "https", "scheme": "HTTPS",
                    "tlsConfig": {
                        "ca": {"secret": {"name": "default-runner", "key": "ca.crt"}},
                        "serverName": "metrics.default-runner.fovea-system.svc",
                    },
                }],
            }),
        )
        .unwrap();
        assert_eq!(config["scheme"], "https");
        assert_eq!(
            config["tls_config"],
            json!({"ca": "PEM", "server_name": "metrics.default-runner.fovea-system.svc"})
        );
    }

    #[test]
    fn what_is_not_translated_is_refused() {
        let error = configuration(
            Kind::Pod,
            json!({
                "selector": {"matchLabels": {}},
                "podMetricsEndpoints": [{"port": "https", "relabelings": []}],
            }),
        )
        .unwrap_err();
        assert!(error.to_string().contains("relabelings"), "{error}");
    }
}
