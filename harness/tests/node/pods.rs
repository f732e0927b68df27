//! What pods and nodes do.

use anyhow::{Context, Result, ensure};
use fovea_harness::cluster::Output;
use fovea_harness::{ControlPlane, Minio, eventually, images, with_temp_ns};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::perl::{SERVER, get};
use crate::shared::shared;
use crate::support::{LONG, create, pod, ready, runs};

/// A pod in which a test runs commands.
fn idle(name: &str) -> Value {
    pod(name, images::DEBIAN, Some("exec sleep infinity"))
}

/// Runs a shell's command in a pod.
pub(crate) async fn exec(
    plane: &ControlPlane,
    namespace: &str,
    pod: &str,
    command: &str,
) -> Result<Output> {
    let exec = ["exec", "-n", namespace, pod, "--"];
    let words = [&exec[..], &["sh", "-euc", command]].concat();
    Ok(plane.kubectl(&words).await?)
}

#[tokio::test]
async fn a_pod_is_reached_by_address_and_its_service_by_name_from_both_nodes() -> Result<()> {
    if !runs("a_pod_is_reached_by_address_and_its_service_by_name_from_both_nodes") {
        return Ok(());
    }
    let cluster = shared().await?;
    let plane = &cluster.control_plane;
    with_temp_ns(&plane.config().await?, async |client, namespace| {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let services: Api<Service> = Api::namespaced(client, namespace);
        create(&pods, pod("server", images::DEBIAN, Some(SERVER))).await?;
        let service = serde_json::from_value(json!({
            "metadata": {"name": "hello"},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }))?;
        services.create(&PostParams::default(), &service).await?;
        for node in ["node1", "node2"] {
            let mut client = idle(&format!("client-{node}"));
            client["spec"]["nodeName"] = json!(node);
            create(&pods, client).await?;
        }
        let address = ready(&pods, "server").await?;
        eventually("the server's answer to this machine", LONG, || async {
            let answer = reqwest::get(format!("http://{address}:8080/")).await?;
            ensure!(answer.text().await? == "hello");
            Ok(())
        })
        .await?;

        let name = format!("hello.{namespace}.svc.cluster.local");
        for node in ["node1", "node2"] {
            let client = format!("client-{node}");
            ready(&pods, &client).await?;
            eventually("the service's answer", LONG, || async {
                let answer = exec(plane, namespace, &client, &get(&name, 80)).await?;
                let answer = answer.success("exec")?;
                ensure!(answer.ends_with("hello"), "{answer}");
                Ok(())
            })
            .await?;
        }
        let logs = format!("logs -n {namespace} server");
        let logs = plane.kubectl_line(&logs).await?;
        ensure!(logs.contains("listening"), "{logs}");
        Ok(())
    })
    .await?
}

#[tokio::test]
async fn a_pod_reaches_the_api_server_and_the_store_and_nothing_beyond_the_machine() -> Result<()> {
    if !runs("a_pod_reaches_the_api_server_and_the_store_and_nothing_beyond_the_machine") {
        return Ok(());
    }
    let cluster = shared().await?;
    let plane = &cluster.control_plane;
    let minio = Minio::start_at(cluster.gateway()).await?;
    let (_, port) = minio.endpoint().rsplit_once(':').context("no port")?;
    let port: u16 = port.parse()?;
    with_temp_ns(&plane.config().await?, async |client, namespace| {
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        create(&pods, idle("client")).await?;
        ready(&pods, "client").await?;
        let run = async |host: &str, port| exec(plane, namespace, "client", &get(host, port)).await;
        let store = run(&cluster.gateway().to_string(), port).await?;
        let store = store.success("exec")?;
        ensure!(store.contains("Server: MinIO"), "{store}");
        eventually("the API server's answer by its service", LONG, || async {
            let answer = run("kubernetes.default.svc", 443).await?.success("exec")?;
            // The answer to plain HTTP on a TLS port: the API server is reachable.
            ensure!(answer.contains("400 Bad Request"), "{answer}");
            Ok(())
        })
        .await?;
        let routes = cluster.nodes[0].run(&["ip", "route"]).await?;
        ensure!(!routes.contains("default"), "{routes}");
        let beyond = run("192.0.2.1", 80).await?;
        let refused = !beyond.status.success() && beyond.stderr.contains("unreachable");
        ensure!(refused, "{}", beyond.stderr);
        Ok(())
    })
    .await??;
    minio.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_third_pod_for_two_gpus_waits_with_the_reason() -> Result<()> {
    if !runs("a_third_pod_for_two_gpus_waits_with_the_reason") {
        return Ok(());
    }
    let config = shared().await?.control_plane.config().await?;
    with_temp_ns(&config, async |client, namespace| {
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let with_gpu = |name: &str| {
            let mut pod = pod(name, "localhost/pause:1", None);
            pod["spec"]["containers"][0]["resources"] = json!({"limits": {"nvidia.com/gpu": 1}});
            pod
        };
        for name in ["one", "two"] {
            create(&pods, with_gpu(name)).await?;
            ready(&pods, name).await?;
        }
        create(&pods, with_gpu("three")).await?;
        eventually("the third pod to be refused", LONG, || async {
            let status = pods.get("three").await?.status.context("no status")?;
            let mut conditions = status.conditions.iter().flatten();
            let why = conditions.find(|each| each.type_ == "PodScheduled");
            let why = why.and_then(|why| why.message.clone()).unwrap_or_default();
            ensure!(why.contains("Insufficient nvidia.com/gpu"), "{why:?}");
            Ok(())
        })
        .await?;
        pods.delete("one", &kube::api::DeleteParams::default())
            .await?;
        ready(&pods, "three").await?;
        Ok(())
    })
    .await?
}
