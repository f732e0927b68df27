//! The flags of the three programs. The data is temporary and there is one user, so options for a fast start
//! are on and options for durability are off. RBAC is as in production.

use std::path::Path;

use super::Network;
use super::certificates::Pki;

#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) api_server: u16,
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) controller_manager: u16,
}

impl From<[u16; 4]> for Ports {
    fn from([api_server, etcd, etcd_peer, controller_manager]: [u16; 4]) -> Self {
        Self {
            api_server,
            etcd,
            etcd_peer,
            controller_manager,
        }
    }
}

impl Ports {
    fn etcd(self) -> String {
        format!("https://127.0.0.1:{}", self.etcd)
    }
}

pub(super) fn etcd(ports: Ports, pki: &Pki, data: &Path) -> Vec<String> {
    let peer = format!("https://127.0.0.1:{}", ports.etcd_peer);
    vec![
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={}", ports.etcd()),
        format!("--advertise-client-urls={}", ports.etcd()),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={}", pki.path("etcd-ca.crt")),
        format!("--cert-file={}", pki.path("etcd.crt")),
        format!("--key-file={}", pki.path("etcd.key")),
        "--peer-client-cert-auth".to_owned(),
        format!("--peer-trusted-ca-file={}", pki.path("etcd-ca.crt")),
        format!("--peer-cert-file={}", pki.path("etcd.crt")),
        format!("--peer-key-file={}", pki.path("etcd.key")),
        "--unsafe-no-fsync".to_owned(),
        // Elections are short, because this is the only member.
        "--heartbeat-interval=10".to_owned(),
        "--election-timeout=100".to_owned(),
    ]
}

/// Logs the metadata of every request.
pub(super) const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
    "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

pub(super) fn audit(policy: &Path, log: &Path) -> [String; 2] {
    [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
    ]
}

pub(super) fn api_server(
    ports: Ports,
    network: &Network,
    pki: &Pki,
    extra: &[String],
) -> Vec<String> {
    let mut flags = vec![
        format!("--bind-address={}", network.address),
        format!("--advertise-address={}", network.address),
        format!("--secure-port={}", ports.api_server),
        format!("--tls-cert-file={}", pki.path("apiserver.crt")),
        format!("--tls-private-key-file={}", pki.path("apiserver.key")),
        format!("--client-ca-file={}", pki.path("ca.crt")),
        format!("--etcd-servers={}", ports.etcd()),
        format!("--etcd-cafile={}", pki.path("etcd-ca.crt")),
        format!("--etcd-certfile={}", pki.path("etcd-client.crt")),
        format!("--etcd-keyfile={}", pki.path("etcd-client.key")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--service-cluster-ip-range={}", network.services),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!(
            "--service-account-key-file={}",
            pki.path("service-accounts.pub")
        ),
        format!(
            "--service-account-signing-key-file={}",
            pki.path("service-accounts.key")
        ),
        "--profiling=false".to_owned(),
        // A stop does not wait for watches.
        "--shutdown-delay-duration=0s".to_owned(),
    ];
    if network.address.is_loopback() {
        // No endpoint for the API server's service: there are no pods to use it.
        flags.push("--endpoint-reconciler-type=none".to_owned());
    } else {
        flags.extend([
            "--endpoint-reconciler-type=lease".to_owned(),
            // It has no kube-proxy, and calls webhooks at the endpoints of their Services.
            "--enable-aggregator-routing=true".to_owned(),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--kubelet-certificate-authority={}", pki.path("ca.crt")),
            format!(
                "--kubelet-client-certificate={}",
                pki.path("kubelet-client.crt")
            ),
            format!("--kubelet-client-key={}", pki.path("kubelet-client.key")),
        ]);
    }
    // Of several flags with one name the last one counts.
    flags.extend_from_slice(extra);
    flags
}

pub(super) fn controller_manager(
    ports: Ports,
    pki: &Pki,
    kubeconfig: &Path,
    extra: &[String],
) -> Vec<String> {
    let mut flags = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--authentication-kubeconfig={}", kubeconfig.display()),
        format!("--authorization-kubeconfig={}", kubeconfig.display()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", ports.controller_manager),
        format!("--tls-cert-file={}", pki.path("apiserver.crt")),
        format!("--tls-private-key-file={}", pki.path("apiserver.key")),
        format!("--root-ca-file={}", pki.path("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki.path("ca.crt")),
        format!("--cluster-signing-key-file={}", pki.path("ca.key")),
        format!(
            "--service-account-private-key-file={}",
            pki.path("service-accounts.key")
        ),
        "--use-service-account-credentials".to_owned(),
        "--leader-elect=false".to_owned(),
        // With the default of 20 requests a second its start takes 4 s longer.
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        "--profiling=false".to_owned(),
    ];
    flags.extend_from_slice(extra);
    flags
}
