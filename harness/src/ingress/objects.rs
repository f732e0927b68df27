//! The ingress's objects in Kubernetes: definitions, classes, and the Gateway.

use std::net::SocketAddrV4;
use std::path::Path;

use serde_json::{Value, json};

use super::{CLASS, DOMAIN, GATEWAY, NAMESPACE};
use crate::cluster::{Authority, ClusterError, ControlPlane};

/// Difference between Envoy's ports and the Gateway's. Contour defines it, without a setting.
const SHIFT: u16 = 8000;
/// The Secret with the Gateway's certificate.
const CERTIFICATE: &str = "gateway-tls";

/// Applies all objects. `addresses` are those that Envoy shall listen on, HTTP first.
pub(super) async fn apply(
    plane: &ControlPlane,
    authority: &Authority,
    addresses: [SocketAddrV4; 2],
    crds: &Path,
) -> Result<(), ClusterError> {
    let crds = crds.display().to_string();
    // Applied server-side: a client-side apply would copy them into annotations, which are too small.
    let apply = ["apply", "--server-side", "-f", &crds];
    plane.kubectl(&apply).await?.success("apply")?;
    let established = "wait --for=condition=Established --timeout=60s crd --all";
    plane.kubectl_line(established).await?;
    let list = json!({
        "apiVersion": "v1", "kind": "List", "items": objects(authority, addresses)?,
    });
    plane.kubectl_apply("", &list.to_string()).await
}

/// Waits until Contour reports the Gateway as programmed.
pub(super) async fn wait_for_gateway(plane: &ControlPlane) -> Result<(), ClusterError> {
    let wait =
        format!("wait -n {NAMESPACE} gateway/{GATEWAY} --for=condition=Programmed --timeout=60s");
    plane.kubectl_line(&wait).await.map(drop)
}

fn objects(
    authority: &Authority,
    [http, https]: [SocketAddrV4; 2],
) -> Result<Vec<Value>, ClusterError> {
    let names = vec![format!("*.{DOMAIN}")];
    let certificate = authority.server(DOMAIN, None, names)?;
    let all = json!({"namespaces": {"from": "All"}});
    Ok(vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": CLASS},
            "spec": {"controller": "projectcontour.io/ingress-controller"},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": CLASS},
            "spec": {"controllerName": "projectcontour.io/gateway-controller"},
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": CERTIFICATE, "namespace": NAMESPACE},
            "stringData": {"tls.crt": certificate.certificate, "tls.key": certificate.key},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": NAMESPACE},
            "spec": {"gatewayClassName": CLASS, "listeners": [
                {"name": "http", "port": http.port().saturating_sub(SHIFT), "protocol": "HTTP", "allowedRoutes": all},
                {
                    "name": "https", "port": https.port().saturating_sub(SHIFT), "protocol": "HTTPS",
                    "hostname": format!("*.{DOMAIN}"), "allowedRoutes": all,
                    "tls": {"mode": "Terminate", "certificateRefs": [{"name": CERTIFICATE}]},
                },
                // Contour's own protocol name, for Ingresses, each of which names its certificate.
                {
                    "name": "ingress", "port": https.port().saturating_sub(SHIFT),
                    "protocol": "projectcontour.io/https", "allowedRoutes": all,
                },
            ]},
        }),
    ])
}
