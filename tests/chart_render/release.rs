//! A release's life as an API server sees it; its pods run nowhere here.

use crate::tools;
use anyhow::{Context as _, Result, ensure};
use fovea_dev::chart::CHART;
use fovea_harness::stack::{SYSTEM_NAMESPACE, repository};
use fovea_harness::{ControlPlane, ControlPlaneOptions};
use fovea_tests::helm::Helm;
use std::collections::BTreeSet;

const RELEASE: &str = "fovea";
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

    async fn kubectl(&self, arguments: &[&str], stdin: &str) -> Result<String> {
        let answer = self.control_plane.kubectl_with(arguments, stdin).await?;
        Ok(answer.success(&arguments.join(" "))?)
    }

    /// Every object that is not Kubernetes' own, in the release's namespace and outside of any.
    async fn objects(&self) -> Result<BTreeSet<String>> {
        let kinds = "deployments,statefulsets,services,secrets,configmaps,serviceaccounts,networkpolicies,\
            poddisruptionbudgets,roles,rolebindings,persistentvolumeclaims,inferencejobs,runnerpools";
        let own = ["get", kinds, "-o", "name", "-n", SYSTEM_NAMESPACE];
        let wide = ["get", "clusterroles,clusterrolebindings,crd", "-o", "name"];
        let found = self.kubectl(&own, "").await? + &self.kubectl(&wide, "").await?;
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
    life.kubectl(
        &[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd/inferencejobs.fovea.dev",
        ],
        "",
    )
    .await?;
    life.kubectl(&["apply", "-f", "-"], JOB).await?;

    // MinIO's keys stay what they are: nothing else knows those that its disk was made with.
    let keys = [
        "get",
        "secret",
        "fovea-minio",
        "-n",
        SYSTEM_NAMESPACE,
        "-o",
        "jsonpath={.data}",
    ];
    let before = life.kubectl(&keys, "").await?;
    let upgrade = [&*life.chart, "-f", &preset, "--set", "operator.replicas=2"];
    life.helm("upgrade", &upgrade).await?;
    assert_eq!(life.kubectl(&keys, "").await?, before);
    let replicas = [
        "get",
        "deploy",
        "fovea-operator",
        "-n",
        SYSTEM_NAMESPACE,
        "-o",
        "jsonpath={.spec.replicas}",
    ];
    assert_eq!(life.kubectl(&replicas, "").await?, "2");
    life.helm("rollback", &["1"]).await?;
    assert_eq!(life.kubectl(&replicas, "").await?, "1");
    assert_eq!(life.kubectl(&keys, "").await?, before);

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
    life.kubectl(&["get", "inferencejob", "kept"], "").await?;

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
        let binding = [
            "create",
            "rolebinding",
            role,
            "--clusterrole",
            role,
            "--user",
            role,
            "-n",
            "default",
        ];
        life.kubectl(&binding, "").await?;
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
        fovea_harness::eventually(
            "the role's rules",
            std::time::Duration::from_mins(1),
            async || {
                let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
                let resource = format!("{resource}.fovea.dev");
                let subresource = format!("--subresource={subresource}");
                let question = [
                    "auth",
                    "can-i",
                    verb,
                    &resource,
                    &subresource,
                    "--as",
                    role,
                    "-n",
                    "default",
                ];
                let answer = life.control_plane.kubectl(&question).await?;
                let allowed = answer.stdout.trim() == "yes";
                ensure!(allowed == may, "{role} {verb} {what}: {answer:?}");
                Ok(())
            },
        )
        .await?;
    }
    Ok(())
}
