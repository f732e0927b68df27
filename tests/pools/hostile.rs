//! What a hostile pod, or a runner that a picture has taken over, can get at: nothing.

use anyhow::{Context as _, Result, ensure};
use fovea_dev::cache::Cache;
use fovea_dev::{eventually, images};
use fovea_store::{ModelFolder, ObjectKey};
use fovea_tests::Pods;
use fovea_tests::pods::{PATIENCE, store};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::time::Duration;

/// Runs a command in a pod; what it wrote, whether it succeeded or not.
async fn exec(it: &Pods, namespace: &str, pod: &str, script: &str) -> Result<(bool, String)> {
    let words = ["exec", "-n", namespace, pod, "--", "bash", "-c", script];
    let output = it.cluster.control_plane.kubectl_with(&words, "").await?;
    let told = format!("{}{}", output.stdout, output.stderr);
    Ok((output.status.success(), told))
}

/// The first line of the answer to a plain HTTP request from within a pod.
async fn asked(it: &Pods, pod: &str, method: &str, url: &str) -> Result<String> {
    let url: reqwest::Url = url.parse()?;
    let (host, port) = (
        url.host_str().context("a host")?,
        url.port().context("a port")?,
    );
    let target = &url[url::Position::BeforePath..];
    let script = format!(
        "exec 3<>/dev/tcp/{host}/{port}; printf '{method} %s HTTP/1.1\\r\\nHost: {host}:{port}\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n' '{target}' >&3; head -1 <&3",
    );
    let (_, told) = exec(it, "default", pod, &script).await?;
    Ok(told)
}

#[test]
fn a_hostile_pod_reaches_no_runner_no_other_object_and_no_secret() -> Result<()> {
    Pods::shared(async |it| {
        it.apply("guarded", &json!({})).await?;
        it.ready("guarded", 1).await?;
        let selected = ListParams::default().labels("fovea.dev/pool=guarded");
        let runner = it.pods.list(&selected).await?.items.remove(0);
        let address = runner
            .status
            .as_ref()
            .and_then(|status| status.pod_ip.clone());
        let address = address.context("the runner's address")?;

        // Whoever is on the network speaks TLS with the runner, and is asked for the token.
        let stranger = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .timeout(Duration::from_secs(10))
            .build()?;
        let models = format!("https://{address}:9400/v1/models");
        for request in [
            stranger.get(&models),
            stranger.get(&models).bearer_auth("guess"),
        ] {
            assert_eq!(request.send().await?.status(), 401);
        }
        let infer = stranger.post(format!("https://{address}:9400/v1/infer"));
        assert_eq!(infer.json(&json!({})).send().await?.status(), 401);

        // A runner's pod has no token of the API server, and its own access may not be read by it
        // beyond what it serves with.
        let name = runner.name_any();
        let namespace = runner.namespace().unwrap();
        let token = "cat /var/run/secrets/kubernetes.io/serviceaccount/token";
        let (read, told) = exec(it, &namespace, &name, token).await?;
        assert!(!read && told.contains("No such file"), "{told}");
        let (wrote, told) = exec(it, &namespace, &name, "touch /usr/local/bin/x").await?;
        assert!(!wrote && told.contains("Read-only"), "{told}");

        // From a pod beside it.
        it.cluster
            .import_image(&images::debian(&Cache::from_env()?)?)
            .await?;
        let pods: Api<Pod> = Api::default_namespaced(it.client.clone());
        let hostile = json!({
            "metadata": {"name": "hostile"},
            "spec": {"automountServiceAccountToken": false, "containers": [{
                "name": "hostile", "image": images::DEBIAN, "command": ["sleep", "infinity"],
            }]},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(hostile)?)
            .await?;
        eventually("the hostile pod to run", PATIENCE, async || {
            let phase = pods
                .get("hostile")
                .await?
                .status
                .and_then(|status| status.phase);
            ensure!(phase.as_deref() == Some("Running"), "{phase:?}");
            Ok(())
        })
        .await?;
        let store = store(&it.minio).await?;
        let demo = |model: &str| ModelFolder::new(&format!("demo/{model}"));
        let mine = ObjectKey::in_folder(&demo("blip")?, "config.json")?;
        let other = ObjectKey::in_folder(&demo("detr")?, "config.json")?;
        let signed = store.presign_get(&mine, Duration::from_mins(5)).await?;
        let forged = signed.replace(mine.as_str(), other.as_str());
        assert_ne!(signed, forged);
        let told = asked(it, "hostile", "GET", &signed).await?;
        assert!(
            told.contains(" 200 "),
            "the pod does reach the store: {told}"
        );
        for (method, url) in [("GET", &forged), ("PUT", &signed), ("DELETE", &signed)] {
            let told = asked(it, "hostile", method, url).await?;
            assert!(told.contains(" 403 "), "{method} {url}: {told}");
        }

        // The pool's own Secret is nobody's who has no rights of his own.
        let anonymous = it.cluster.control_plane.client_for("hostile", &[]).await?;
        let secrets: Api<Secret> = Api::namespaced(anonymous, &namespace);
        let refused = secrets.get("guarded-runner").await.unwrap_err();
        assert!(matches!(refused, kube::Error::Api(answer) if answer.code == 403));
        it.scale("guarded", 0).await
    })
}
