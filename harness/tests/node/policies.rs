//! What a `NetworkPolicy` refuses does not arrive, and what it allows does.

use anyhow::{Result, bail, ensure};
use fovea_harness::{Cluster, eventually, images, with_temp_ns};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};

use crate::perl::{SERVER, get};
use crate::pods::exec;
use crate::shared::shared;
use crate::support::{LONG, create, pod, ready, runs};

/// Pods of one namespace: two servers, `server` and `other`, and a client on each node.
struct Place<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    pods: Api<Pod>,
}

impl Place<'_> {
    async fn fill(&self) -> Result<()> {
        for (name, node, command) in [
            ("server", "node1", SERVER),
            ("other", "node2", SERVER),
            ("friend", "node1", "exec sleep infinity"),
            ("stranger", "node2", "exec sleep infinity"),
        ] {
            let mut made = pod(name, images::DEBIAN, Some(command));
            made["spec"]["nodeName"] = json!(node);
            create(&self.pods, made).await?;
        }
        Ok(())
    }

    async fn apply(&self, name: &str, spec: Value) -> Result<()> {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name}, "spec": spec,
        });
        let (within, plane) = (
            format!("-n {}", self.namespace),
            &self.cluster.control_plane,
        );
        Ok(plane.kubectl_apply(&within, &policy.to_string()).await?)
    }

    async fn arrives(&self, from: &str, to: &str) -> Result<bool> {
        let address = ready(&self.pods, to).await?;
        ready(&self.pods, from).await?;
        let plane = &self.cluster.control_plane;
        let answer = exec(plane, self.namespace, from, &get(&address, 8080)).await?;
        if answer.status.success() && answer.stdout.ends_with("hello") {
            return Ok(true);
        }
        // Only if the pod's own connection failed, not `kubectl exec`.
        if answer.stderr.contains("IO::Socket::INET") || answer.status.code() == Some(124) {
            return Ok(false);
        }
        bail!("{}{}", answer.stdout, answer.stderr)
    }

    /// Waits until `from` reaches `to`, or does not: policies take effect with a delay.
    async fn until(&self, from: &str, to: &str, wanted: bool) -> Result<()> {
        let what = format!("{from} to {to}: {wanted}");
        let seen = eventually(&what, LONG, async || {
            let arrives = self.arrives(from, to).await?;
            ensure!(arrives == wanted, "it is {arrives}");
            Ok(())
        });
        Ok(seen.await?)
    }

    async fn machine_arrives(&self) -> Result<bool> {
        let address = ready(&self.pods, "server").await?;
        let client = reqwest::Client::builder()
            .connect_timeout(std::time::Duration::from_secs(5))
            .build()?;
        let answer = client.get(format!("http://{address}:8080/")).send().await;
        Ok(answer.is_ok())
    }
}

#[tokio::test]
async fn a_refused_pod_does_not_connect_an_allowed_one_does_and_egress_is_held_to_too() -> Result<()>
{
    if !runs("a_refused_pod_does_not_connect_an_allowed_one_does_and_egress_is_held_to_too") {
        return Ok(());
    }
    let cluster = shared().await?;
    let config = cluster.control_plane.config().await?;
    with_temp_ns(&config, async |client, namespace| {
        let place = Place {
            cluster,
            namespace,
            pods: Api::namespaced(client, namespace),
        };
        place.fill().await?;
        for from in ["friend", "stranger"] {
            place.until(from, "server", true).await?;
        }
        ensure!(place.machine_arrives().await?, "no policy, no refusal");

        let only = |from: Value| {
            json!({
                "podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [from], "ports": [{"port": 8080}]}],
            })
        };
        let friend = json!({"podSelector": {"matchLabels": {"app": "friend"}}});
        place.apply("server", only(friend)).await?;
        place.until("stranger", "server", false).await?;
        ensure!(
            place.arrives("friend", "server").await?,
            "the friend is let in"
        );
        ensure!(
            !place.machine_arrives().await?,
            "the machine is none of the friends"
        );

        let machine = format!("{}/32", cluster.gateway());
        let machine = json!({"ipBlock": {"cidr": machine}});
        place.apply("server", only(machine)).await?;
        place.until("friend", "server", false).await?;
        ensure!(
            place.machine_arrives().await?,
            "the machine's address is allowed"
        );

        let egress = json!({
            "podSelector": {"matchLabels": {"app": "stranger"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "server"}}}]}],
        });
        place.apply("stranger", egress).await?;
        place.until("stranger", "other", false).await?;
        ensure!(
            place.arrives("friend", "other").await?,
            "nobody holds the friend back"
        );
        // Both ends must agree.
        ensure!(!place.arrives("stranger", "server").await?);
        let all = json!({"podSelector": {}});
        place.apply("server", only(all)).await?;
        place.until("stranger", "server", true).await
    })
    .await?
}
