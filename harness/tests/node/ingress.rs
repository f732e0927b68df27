//! Requests from outside reach pods: by an Ingress, by an `HTTPRoute`.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use fovea_harness::{eventually, images, ingress, with_temp_ns};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;

use crate::perl::SERVER;
use crate::shared::shared;
use crate::support::{LONG, create, pod, ready, runs};

const HOST: &str = "shapes.example.com";

/// A client that resolves `host` to `address` and trusts `authority` (PEM).
fn visitor(host: &str, address: SocketAddr, authority: &str) -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .no_proxy()
        .resolve(host, address)
        .tls_certs_only([reqwest::Certificate::from_pem(authority.as_bytes())?])
        .build()?)
}

#[tokio::test]
async fn an_ingress_and_an_http_route_both_reach_a_pod_over_tls() -> Result<()> {
    if !runs("an_ingress_and_an_http_route_both_reach_a_pod_over_tls") {
        return Ok(());
    }
    let cluster = shared().await?;
    let plane = &cluster.control_plane;
    let door = cluster.start_ingress().await?;
    let own = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let routed = format!("shapes.{}", ingress::DOMAIN);

    with_temp_ns(&plane.config().await?, async |client, namespace| {
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        create(&pods, pod("server", images::DEBIAN, Some(SERVER))).await?;
        let backend = json!({"service": {"name": "hello", "port": {"number": 80}}});
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "hello"},
                "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
            },
            {
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"},
                "type": "kubernetes.io/tls",
                "stringData": {"tls.crt": certificate, "tls.key": key},
            },
            {
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"name": "hello"},
                "spec": {
                    "ingressClassName": ingress::CLASS,
                    "tls": [{"hosts": [HOST], "secretName": "tls"}],
                    "rules": [{"host": HOST, "http": {"paths": [
                        {"path": "/", "pathType": "Prefix", "backend": backend},
                    ]}}],
                },
            },
            {
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": "hello"},
                "spec": {
                    "parentRefs": [{"namespace": ingress::NAMESPACE, "name": ingress::GATEWAY}],
                    "hostnames": [routed],
                    "rules": [{"backendRefs": [{"name": "hello", "port": 80}]}],
                },
            },
        ]});
        let within = format!("-n {namespace}");
        plane.kubectl_apply(&within, &objects.to_string()).await?;
        ready(&pods, "server").await?;

        let ways = [
            ("https", HOST, door.https(), certificate.as_str()),
            ("https", &routed, door.https(), door.authority()),
            ("http", &routed, door.http(), door.authority()),
        ];
        for (scheme, host, address, authority) in ways {
            let visitor = visitor(host, address, authority)?;
            let url = format!("{scheme}://{host}:{}/", address.port());
            eventually(&format!("an answer of {url}"), LONG, async || {
                let answer = visitor.get(&url).send().await?.error_for_status()?;
                ensure!(answer.text().await? == "hello");
                Ok(())
            })
            .await?;
        }
        let nobody = format!("http://{}/", door.http());
        ensure!(reqwest::get(nobody).await?.status() == 404, "a name that nobody has");

        let get = format!("get ingress hello {within} -o yaml");
        let listed = plane.kubectl_line(&get).await?;
        ensure!(listed.contains(&format!("ip: {}", cluster.gateway())), "{listed}");
        Ok(())
    })
    .await?
}
