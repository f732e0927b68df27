//! A release's life as an API server sees it; its pods run nowhere here.

use crate::{networks, tools};
use anyhow::{Context as _, Result, ensure};
use fovea_crds::yaml;
use fovea_dev::chart::CHART;
use fovea_harness::stack::{SYSTEM_NAMESPACE, repository};
use fovea_harness::{ControlPlane, ControlPlaneOptions, eventually};
use fovea_tests::helm::Helm;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const RELEASE: &str = "fovea";
const PATIENCE: Duration = Duration::from_mins(1);
const JOB: &str = "apiVersion: fovea.dev/v1alpha1
kind: InferenceJob
metadata: {name: kept, namespace: default}
spec: {task: image-to-text, input: {object: {key: a.jpg}}}
";

/// Servers of a control plane; the last slice is of another Service.
const SERVERS: &str = "
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{name: https, port: 8443}],
 metadata: {name: servers-4, namespace: default, labels: {kubernetes.io/service-name: kubernetes}},
 endpoints: [{addresses: [10.7.8.9, 10.7.200.1, 172.15.0.1, 172.31.9.9, 192.168.1.1, 100.100.0.1, 203.0.113.7]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv6, ports: [{name: https, port: 8443}],
 metadata: {name: servers-6, namespace: default, labels: {kubernetes.io/service-name: kubernetes}},
 endpoints: [{addresses: ['2001:db8:1:2::5']}, {addresses: ['2001:db8:0:2:3:4:5:6']}, {addresses: ['fd00::7']}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{name: https, port: 9443}],
 metadata: {name: others, namespace: default, labels: {kubernetes.io/service-name: other}},
 endpoints: [{addresses: [198.51.100.1]}]}
";

struct Life {
    control_plane: ControlPlane,
    helm: Helm,
    chart: String,
}

impl Life {
    async fn begin() -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        tools()?;
        let control_plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
        let helm = Helm::new(control_plane.kubeconfig())?;
        let chart = repository().join(CHART).display().to_string();
        Ok(Self {
            control_plane,
            helm,
            chart,
        })
    }

    /// Runs helm on the release; hooks wait for pods.
    async fn helm(&self, verb: &str, arguments: &[&str]) -> Result<String> {
        let all = [
            &[verb, RELEASE, "-n", SYSTEM_NAMESPACE, "--no-hooks"],
            arguments,
        ]
        .concat();
        self.helm.run(&all).await
    }

    async fn kubectl(&self, line: &str) -> Result<String> {
        Ok(self.control_plane.kubectl_line(line).await?)
    }

    /// Every object that is not Kubernetes' own, in the release's namespace and outside of any.
    async fn objects(&self) -> Result<BTreeSet<String>> {
        let kinds = "deployments,statefulsets,services,secrets,configmaps,serviceaccounts,networkpolicies,\
            poddisruptionbudgets,roles,rolebindings,persistentvolumeclaims,inferencejobs,runnerpools";
        let own = format!("get {kinds} -o name -n {SYSTEM_NAMESPACE}");
        let wide = "get clusterroles,clusterrolebindings,crd -o name";
        let found = self.kubectl(&own).await? + &self.kubectl(wide).await?;
        let ours = found.lines().filter(|name| name.contains(RELEASE));
        Ok(ours.map(str::to_owned).collect())
    }
}

#[tokio::test]
async fn a_release_leaves_the_definitions_and_the_jobs_and_nothing_else() -> Result<()> {
    let life = Life::begin().await?;
    let preset = format!("{}/presets/trial.yaml", life.chart);
    let values = [&*life.chart, "--create-namespace", "-f", &preset];
    let notes = life.helm("install", &values).await?;
    for words in [
        "curl http://127.0.0.1:8000/v1/jobs",
        "kubectl -n default create -f -",
        "helm -n fovea-system test fovea",
        "WARNING: auth is none",
        "WARNING: MinIO is for trials",
    ] {
        ensure!(notes.contains(words), "{words:?} is not in\n{notes}");
    }
    let definition = "crd/inferencejobs.fovea.dev";
    life.kubectl(&format!(
        "wait --for=condition=Established --timeout=60s {definition}"
    ))
    .await?;
    life.control_plane.kubectl_apply("", JOB).await?;

    // MinIO's keys stay what they are: nothing else knows those that its disk was made with.
    let keys = format!("get secret fovea-minio -n {SYSTEM_NAMESPACE} -o jsonpath={{.data}}");
    let before = life.kubectl(&keys).await?;
    let upgrade = [&*life.chart, "-f", &preset, "--set", "operator.replicas=2"];
    life.helm("upgrade", &upgrade).await?;
    assert_eq!(life.kubectl(&keys).await?, before);
    let replicas = "get deploy fovea-operator -o jsonpath={.spec.replicas}";
    let replicas = format!("{replicas} -n {SYSTEM_NAMESPACE}");
    assert_eq!(life.kubectl(&replicas).await?, "2");
    life.helm("rollback", &["1"]).await?;
    assert_eq!(life.kubectl(&replicas).await?, "1");
    assert_eq!(life.kubectl(&keys).await?, before);

    life.helm("uninstall", &["--wait"]).await?;
    let left: Vec<_> = life.objects().await?.into_iter().collect();
    let definition = "customresourcedefinition.apiextensions.k8s.io";
    assert_eq!(
        left,
        [
            format!("{definition}/inferencejobs.fovea.dev"),
            format!("{definition}/runnerpools.fovea.dev"),
        ]
    );
    life.kubectl("get inferencejob kept").await?;

    // What stays does not prevent another installation.
    life.helm("install", &values).await.context("again")?;
    Ok(())
}

#[tokio::test]
async fn helm_asks_the_cluster_where_its_api_server_is() -> Result<()> {
    let life = Life::begin().await?;
    life.control_plane.kubectl_apply("", SERVERS).await?;
    let service = "get service kubernetes -o jsonpath={.spec.clusterIP}";
    let service = life.kubectl(service).await?;
    let preset = format!("{}/presets/trial.yaml", life.chart);
    let render = async |more: &[&str]| -> Result<Vec<Value>> {
        let mut arguments = vec![&*life.chart, "--dry-run=server", "-f", &preset];
        // helm template asks the cluster for everything but its version.
        arguments.extend(["--kube-version", fovea_setup::versions::KUBERNETES]);
        let files = networks::POLICIES.map(|file| format!("templates/{file}"));
        arguments.extend(files.iter().flat_map(|file| ["--show-only", file]));
        arguments.extend(more);
        let text = life.helm("template", &arguments).await?;
        Ok(yaml::documents(&text).collect::<Result<Vec<_>, _>>()?)
    };
    let blocks = |cidrs: &[&str]| -> Vec<Value> {
        let each = cidrs.iter().map(|cidr| json!({"ipBlock": {"cidr": cidr}}));
        each.collect()
    };
    let ports = |number: u16| json!([{"protocol": "TCP", "port": number}]);
    let policies = render(&[]).await?;
    assert_eq!(policies.len(), 3);
    for policy in policies {
        let rules = &policy["spec"]["egress"];
        let to_service = json!({"to": blocks(&[&format!("{service}/32")]), "ports": ports(443)});
        assert_eq!(rules[1], to_service, "{policy:#}");
        let mut networks = blocks(&[
            "10.7.0.0/16",
            "100.100.0.0/16",
            "172.15.0.1/32",
            "172.31.0.0/16",
            "192.168.0.0/16",
            "2001:db8:1::/48",
            "2001:db8::/48",
            "203.0.113.7/32",
            "fd00::/48",
        ]);
        networks[1]["ipBlock"]["except"] = json!(["100.100.100.200/32"]);
        let to_servers = json!({"to": networks, "ports": ports(8443)});
        assert_eq!(rules[2], to_servers, "{policy:#}");
        assert_eq!(networks::reached(&policy)?, [""; 0]);
    }
    // What the values say needs no question.
    let own = "networkPolicy.kubernetesApi.cidrs={192.0.2.0/24}";
    for policy in render(&["--set", own]).await? {
        let peers = &policy["spec"]["egress"][1]["to"];
        assert_eq!(*peers, json!(blocks(&["192.0.2.0/24"])), "{policy:#}");
    }
    Ok(())
}

#[tokio::test]
async fn the_cluster_s_own_roles_learn_of_jobs_and_pools() -> Result<()> {
    let life = Life::begin().await?;
    let preset = format!("{}/presets/trial.yaml", life.chart);
    life.helm(
        "install",
        &[&life.chart, "--create-namespace", "-f", &preset],
    )
    .await?;
    for role in ["view", "edit", "admin"] {
        let bind = format!("create rolebinding {role} --clusterrole {role} --user {role}");
        life.kubectl(&format!("{bind} -n default")).await?;
    }
    for (role, verb, what, may) in [
        ("view", "list", "inferencejobs", true),
        ("view", "watch", "runnerpools", true),
        ("view", "create", "inferencejobs", false),
        ("edit", "create", "inferencejobs", true),
        ("edit", "patch", "inferencejobs", true),
        ("edit", "update", "inferencejobs/status", false),
        ("edit", "create", "runnerpools", false),
        ("edit", "patch", "runnerpools/scale", false),
        ("admin", "create", "runnerpools", true),
        ("admin", "patch", "runnerpools/scale", true),
        ("admin", "update", "runnerpools/status", false),
        ("admin", "patch", "inferencejobs/status", false),
    ] {
        // Kubernetes gathers the rules of its roles when it comes to it.
        let (resource, part) = what.split_once('/').unwrap_or((what, ""));
        let what = format!("{resource}.fovea.dev/{part}");
        eventually("the role's rules", PATIENCE, async || {
            let allowed = life.control_plane.may(role, verb, &what, "default").await?;
            ensure!(allowed == may, "{role} {verb} {what}: {allowed}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
