//! The `NetworkPolicy`s: what runners' pods and imports' pods reach, and who reaches them.

use super::{Build, PORT, Subject, names};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// The label that Kubernetes gives each namespace.
const NAMESPACE: &str = "kubernetes.io/metadata.name";

/// What is no public address: a cluster's own, link-local (a cloud's metadata), carriers'. An IPv4
/// address in IPv6's clothes is none on the wire, and Kubernetes refuses to see it named.
const PRIVATE_V4: [&str; 7] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
];
const PRIVATE_V6: [&str; 3] = ["::/96", "fc00::/7", "fe80::/10"];

/// Runners are spoken to by the operator, and speak to DNS and the store.
pub(crate) fn runners(subject: &Subject<'_>, build: &Build) -> NetworkPolicy {
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(namespace(&build.operator_namespace)),
        pod_selector: Some(selector(
            build.config.operator_labels.iter().cloned().collect(),
        )),
        ip_block: None,
    };
    let ingress = NetworkPolicyIngressRule {
        from: Some(vec![operator]),
        ports: Some(vec![port("TCP", PORT)]),
    };
    let egress = [Some(dns(build)), store(build)]
        .into_iter()
        .flatten()
        .collect();
    policy(
        subject.metadata(),
        subject.selector(),
        vec![ingress],
        egress,
    )
}

/// Imports' pods are spoken to by nobody, and speak to DNS, the hub and the store.
pub(crate) fn imports(metadata: ObjectMeta, import: &str, build: &Build) -> NetworkPolicy {
    let hub = if build.config.hub_cidrs.is_empty() {
        vec![block("0.0.0.0/0", &PRIVATE_V4), block("::/0", &PRIVATE_V6)]
    } else {
        blocks(&build.config.hub_cidrs)
    };
    let hub = NetworkPolicyEgressRule {
        to: Some(hub),
        ports: Some(vec![port("TCP", build.hub_port)]),
    };
    let egress = [Some(dns(build)), Some(hub), store(build)];
    let pods = BTreeMap::from([(names::IMPORT.to_owned(), import.to_owned())]);
    policy(
        metadata,
        pods,
        Vec::new(),
        egress.into_iter().flatten().collect(),
    )
}

fn policy(
    metadata: ObjectMeta,
    pods: BTreeMap<String, String>,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(pods)),
            // Both, so that what no rule names is refused.
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: (!ingress.is_empty()).then_some(ingress),
            egress: Some(egress),
        }),
    }
}

fn dns(build: &Build) -> NetworkPolicyEgressRule {
    let config = &build.config;
    let pods = NetworkPolicyPeer {
        namespace_selector: Some(namespace(&config.dns_namespace)),
        pod_selector: Some(selector(config.dns_labels.iter().cloned().collect())),
        ip_block: None,
    };
    let mut to = vec![pods];
    to.extend(blocks(&config.dns_cidrs));
    NetworkPolicyEgressRule {
        to: Some(to),
        ports: Some(vec![port("UDP", 53), port("TCP", 53)]),
    }
}

/// `None` where no address is configured: an empty list would mean every address.
fn store(build: &Build) -> Option<NetworkPolicyEgressRule> {
    let to = blocks(&build.config.store_cidrs);
    let ports = build.store_ports.iter().map(|number| port("TCP", *number));
    (!to.is_empty()).then(|| NetworkPolicyEgressRule {
        to: Some(to),
        ports: Some(ports.collect()),
    })
}

fn blocks(cidrs: &[IpNet]) -> Vec<NetworkPolicyPeer> {
    let each = cidrs
        .iter()
        .map(|cidr| block(&cidr.trunc().to_string(), &[]));
    each.collect()
}

fn block(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    let except = except.iter().map(|cidr| (*cidr).to_owned());
    let except: Vec<String> = except.collect();
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: (!except.is_empty()).then_some(except),
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        end_port: None,
    }
}

fn namespace(name: &str) -> LabelSelector {
    selector(BTreeMap::from([(NAMESPACE.to_owned(), name.to_owned())]))
}

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }
}
