//! The `NetworkPolicy`s of runners' and imports' pods.

use super::{Build, PORT, Subject, names, proxy};
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

/// Networks that are not public: private, reserved, shared by carriers, and link-local, where clouds serve
/// their metadata. IPv4-mapped IPv6 addresses are not listed: no packet carries one, and Kubernetes
/// rejects them in a policy.
const PRIVATE_V4: [&str; 9] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
];
const PRIVATE_V6: [&str; 3] = ["::/96", "fc00::/7", "fe80::/10"];
/// Link-local networks and clouds' metadata services, which a configured network includes only if it is
/// within one of them. The chart has the same list (`fovea.network.blocks`).
const METADATA: [&str; 7] = [
    "100.100.100.200/32",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "192.0.0.192/32",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "fe80::/10",
];

/// Runners accept connections from the operator and scrapers, and reach DNS and the store, or the proxy before it.
pub(crate) fn runners(subject: &Subject<'_>, build: &Build) -> NetworkPolicy {
    let config = &build.config;
    let operator = pods(Some(&build.operator_namespace), &config.operator_labels);
    let scraper = pods(config.scraper_namespace.as_deref(), &config.scraper_labels);
    let ingress = NetworkPolicyIngressRule {
        from: Some(operator.into_iter().chain(scraper).collect()),
        ports: Some(vec![port("TCP", PORT)]),
    };
    let proxy = build.store_is_proxied.then(|| proxies(build)).flatten();
    let egress = [Some(dns(build)), store(build), proxy];
    policy(
        subject.metadata(),
        subject.selector(),
        vec![ingress],
        egress.into_iter().flatten().collect(),
    )
}

/// Imports' pods accept no connections, and reach DNS, the hub, the store and the proxy.
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
    let egress = [Some(dns(build)), Some(hub), store(build), proxies(build)];
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
            // Both types, so that everything without a rule is refused.
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: (!ingress.is_empty()).then_some(ingress),
            egress: Some(egress),
        }),
    }
}

fn dns(build: &Build) -> NetworkPolicyEgressRule {
    let config = &build.config;
    let pods = pods(Some(&config.dns_namespace), &config.dns_labels);
    let to = pods.into_iter().chain(blocks(&config.dns_cidrs));
    NetworkPolicyEgressRule {
        to: Some(to.collect()),
        ports: Some(vec![port("UDP", 53), port("TCP", 53)]),
    }
}

/// `None` where none is configured: an empty list would mean every address.
fn store(build: &Build) -> Option<NetworkPolicyEgressRule> {
    let config = &build.config;
    let mut to = blocks(&config.store_cidrs);
    to.extend(pods(
        config.store_namespace.as_deref(),
        &config.store_labels,
    ));
    let ports = build.store_ports.iter().map(|number| port("TCP", *number));
    (!to.is_empty()).then(|| NetworkPolicyEgressRule {
        to: Some(to),
        ports: Some(ports.collect()),
    })
}

/// `None` without a proxy, and where no flag says where it is.
fn proxies(build: &Build) -> Option<NetworkPolicyEgressRule> {
    let config = &build.config;
    let mut to = blocks(&config.proxy_cidrs);
    to.extend(pods(
        config.proxy_namespace.as_deref(),
        &config.proxy_labels,
    ));
    let ports = if config.proxy_ports.is_empty() {
        proxy::ports(&build.proxies)
    } else {
        config.proxy_ports.clone()
    };
    let ports: Vec<_> = ports.iter().map(|number| port("TCP", *number)).collect();
    let is_there = !build.proxies.is_empty() && !to.is_empty();
    is_there.then_some(NetworkPolicyEgressRule {
        to: Some(to),
        ports: Some(ports),
    })
}

/// The pods with these labels in a namespace (by default the policy's own); `None` if neither is given.
fn pods(namespace: Option<&str>, labels: &[(String, String)]) -> Option<NetworkPolicyPeer> {
    let named = namespace.map(|name| BTreeMap::from([(NAMESPACE.to_owned(), name.to_owned())]));
    let labels = (!labels.is_empty()).then(|| labels.iter().cloned().collect());
    (named.is_some() || labels.is_some()).then(|| NetworkPolicyPeer {
        namespace_selector: named.map(selector),
        pod_selector: labels.map(selector),
        ip_block: None,
    })
}

fn blocks(cidrs: &[IpNet]) -> Vec<NetworkPolicyPeer> {
    let each = cidrs.iter().map(|cidr| {
        let within = |network: &&str| {
            let network = network.parse::<IpNet>();
            network.is_ok_and(|network| cidr.contains(&network) && cidr.trunc() != network)
        };
        let except: Vec<&str> = METADATA.into_iter().filter(within).collect();
        block(&cidr.trunc().to_string(), &except)
    });
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

fn selector(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }
}
