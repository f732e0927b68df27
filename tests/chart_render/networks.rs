//! Where the chart's policies let pods go: to no metadata service unless the values name it, and to the
//! API server where the cluster says that it is.

use crate::{goldens, objects, output_of, tools};
use anyhow::{Context as _, Result, ensure};
use fovea_crds::yaml;
use fovea_harness::stack::repository;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Addresses of clouds' metadata and credentials, and of the link.
const METADATA: [&str; 9] = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
];
pub(crate) const POLICIES: [&str; 3] = [
    "operator/network-policy.yaml",
    "api/network-policy.yaml",
    "pools/network-policy.yaml",
];

/// The addresses of [`METADATA`] that a rule of a policy's egress reaches.
pub(crate) fn reached(policy: &Value) -> Result<Vec<String>> {
    let mut reached = Vec::new();
    for rule in policy["spec"]["egress"].as_array().into_iter().flatten() {
        let peers = rule["to"].as_array().into_iter().flatten();
        ensure!(
            peers.clone().count() > 0,
            "a rule without peers means every address: {rule}"
        );
        for block in peers.map(|peer| &peer["ipBlock"]) {
            let Some(cidr) = block["cidr"].as_str() else {
                continue;
            };
            let except = block["except"].as_array().into_iter().flatten();
            let except = except
                .map(|cidr| Ok(cidr.as_str().context("a network")?.parse()?))
                .collect::<Result<Vec<IpNet>>>()?;
            let cidr: IpNet = cidr.parse()?;
            for address in METADATA {
                let ip: IpAddr = address.parse()?;
                if cidr.contains(&ip) && !except.iter().any(|except| except.contains(&ip)) {
                    reached.push(format!("{address} by {block}"));
                }
            }
        }
    }
    Ok(reached)
}

fn policies(objects: Vec<Value>) -> Vec<Value> {
    let is_policy = |object: &Value| object["kind"] == "NetworkPolicy";
    objects.into_iter().filter(is_policy).collect()
}

/// Policies of a render with these arguments beside a store's.
fn rendered(arguments: &[&str]) -> Result<Vec<Value>> {
    let mut template = tools()?.template();
    let values = repository().join("charts/fovea/ci/minimal-values.yaml");
    template.arg("--values").arg(values).args(arguments);
    for file in POLICIES {
        template.args(["--show-only", &format!("templates/{file}")]);
    }
    let text = output_of(&mut template)?;
    let documents = yaml::documents::<Value>(&text);
    Ok(documents.collect::<Result<Vec<_>, _>>()?)
}

#[test]
fn no_policy_reaches_a_metadata_service_whatever_the_values() -> Result<()> {
    let mut seen = 0;
    let installed = ["", "watch-namespace/"].into_iter().flat_map(|folder| {
        let folder = repository().join("manifests/install").join(folder);
        POLICIES[..2].iter().map(move |file| folder.join(file))
    });
    for path in goldens()?.into_iter().chain(installed) {
        for policy in policies(objects(&path)?) {
            let reached = reached(&policy)?;
            ensure!(reached.is_empty(), "{}: {reached:#?}", path.display());
            seen += 1;
        }
    }
    ensure!(seen > 30, "{seen} policies");
    let wide = "networkPolicy.kubernetesApi.cidrs={0.0.0.0/0,::/0}";
    let store = "objectStore.cidrs={0.0.0.0/0,::/0}";
    for policy in rendered(&["--set", wide, "--set", store])? {
        assert_eq!(reached(&policy)?, [""; 0]);
    }
    let named = "networkPolicy.operator.cidrs={169.254.169.254/32}";
    let operator = rendered(&["--set", named])?.remove(0);
    assert_eq!(reached(&operator)?.len(), 1, "{operator:#}");
    Ok(())
}

/// Whether a rule has a network with the address.
fn reaches(rule: &Value, address: &str) -> Result<bool> {
    let ip: IpAddr = address.parse()?;
    for peer in rule["to"].as_array().context("peers")? {
        let Some(cidr) = peer["ipBlock"]["cidr"].as_str() else {
            continue;
        };
        if cidr.parse::<IpNet>()?.contains(&ip) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn without_a_cluster_to_ask_the_api_server_is_looked_for_in_private_networks() -> Result<()> {
    for policy in rendered(&[])? {
        let rule = &policy["spec"]["egress"][1];
        for address in [
            "10.96.0.1",
            "172.20.0.1",
            "192.168.49.2",
            "100.64.1.1",
            "fd00:10::1",
        ] {
            assert!(reaches(rule, address)?, "{address}: {rule:#}");
        }
        for address in ["8.8.8.8", "203.0.113.7", "2001:4860::1"] {
            assert!(!reaches(rule, address)?, "{address}: {rule:#}");
        }
    }
    let own = "networkPolicy.kubernetesApi.cidrs={203.0.113.7/32}";
    for policy in rendered(&["--set", own])? {
        let rule = &policy["spec"]["egress"][1];
        assert!(reaches(rule, "203.0.113.7")?, "{rule:#}");
        assert!(!reaches(rule, "10.96.0.1")?, "{rule:#}");
    }
    Ok(())
}

#[test]
fn the_api_reaches_public_addresses_only_if_its_keys_come_from_a_token_service() -> Result<()> {
    let public = |arguments: &[&str]| -> Result<usize> {
        let api = rendered(arguments)?.into_iter();
        let api = { api }.find(|policy| policy["metadata"]["name"] == "fovea-api");
        let api = api.context("the API's policy")?;
        let rules = api["spec"]["egress"].as_array().context("rules")?;
        let mut count = 0;
        for rule in rules {
            count += usize::from(reaches(rule, "8.8.8.8")?);
        }
        Ok(count)
    };
    assert_eq!(public(&[])?, 0);
    assert_eq!(public(&["--set", "objectStore.existingSecret="])?, 1);
    Ok(())
}

#[test]
fn cilium_gets_its_own_policy_for_an_api_server_on_a_node() -> Result<()> {
    let has = ["--api-versions", "cilium.io/v2/CiliumNetworkPolicy"];
    let all = rendered(&has)?;
    let of_cilium: Vec<_> = { all.iter() }
        .filter(|policy| policy["kind"] == "CiliumNetworkPolicy")
        .collect();
    assert_eq!((all.len(), of_cilium.len()), (6, 3));
    for policy in of_cilium {
        let twin = all.iter().find(|other| {
            other["kind"] == "NetworkPolicy" && other["metadata"] == policy["metadata"]
        });
        let twin = twin.context("a NetworkPolicy of its name")?;
        assert_eq!(
            policy["spec"]["endpointSelector"],
            twin["spec"]["podSelector"]
        );
        let ports =
            json!([{"port": "443", "protocol": "TCP"}, {"port": "6443", "protocol": "TCP"}]);
        let rule = json!([{"toEntities": ["kube-apiserver"], "toPorts": [{"ports": ports}]}]);
        assert_eq!(policy["spec"]["egress"], rule);
    }
    let none = rendered(&[])?;
    assert!(none.iter().all(|policy| policy["kind"] == "NetworkPolicy"));
    Ok(())
}
