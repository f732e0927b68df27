//! A release's life as an API server sees it; its pods run nowhere here.

use crate::tools;
use anyhow::{Context as _, Result, ensure};
use fovea_dev::chart::CHART;
use fovea_harness::stack::{SYSTEM_NAMESPACE, repository};
use fovea_harness::{ControlPlane, ControlPlaneOptions, eventually};
use fovea_tests::helm::Helm;
use std::collections::BTreeSet;
use std::time::Duration;

const RELEASE: &str = "fovea";
const PATIENCE: Duration = Duration::from_mins(1);
const JOB: &str = "apiVersion: fovea.dev/v1alpha1
kind: InferenceJob
metadata: {name: kept, namespace: default}
spec: {task: image-to-text, input: {object: {key: a.jpg}}}
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
