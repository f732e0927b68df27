//! Flags of Contour and Envoy. Only visitors' requests leave loopback.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::json;

use super::{CLASS, Files, GATEWAY, NAMESPACE};

#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// Port of Contour's xDS, which configures Envoy.
    pub(super) xds: u16,
    /// Port of Contour's `/healthz` and `/metrics`.
    pub(super) health: u16,
    /// Port of Contour's profiles.
    debug: u16,
    /// Port of Envoy's `/ready` and `/stats`.
    pub(super) stats: u16,
    /// Port of Envoy's read-only administration.
    admin: u16,
}

impl From<[u16; 5]> for Ports {
    fn from([xds, health, debug, stats, admin]: [u16; 5]) -> Self {
        Self {
            xds,
            health,
            debug,
            stats,
            admin,
        }
    }
}

/// Contour's configuration file, with the settings that have no flag.
pub(super) fn config(ports: Ports) -> String {
    json!({
        "gateway": {"gatewayRef": {"namespace": NAMESPACE, "name": GATEWAY}},
        "network": {"admin-port": ports.admin},
    })
    .to_string()
}

/// Flags of `contour serve`. Envoy listens on `address`, on the Gateway's ports.
pub(super) fn contour(
    files: &Files,
    kubeconfig: &Path,
    ports: Ports,
    address: Ipv4Addr,
) -> Vec<String> {
    let loopback = |name: &str, port: u16| {
        [
            format!("--{name}-address=127.0.0.1"),
            format!("--{name}-port={port}"),
        ]
    };
    let mut flags = vec![
        "serve".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--config-path={}", files.path("contour.json")),
        format!("--contour-cafile={}", files.path("ca.crt")),
        format!("--contour-cert-file={}", files.path("contour.crt")),
        format!("--contour-key-file={}", files.path("contour.key")),
        format!("--envoy-service-http-address={address}"),
        format!("--envoy-service-https-address={address}"),
        format!("--ingress-class-name={CLASS}"),
        format!("--ingress-status-address={address}"),
        "--disable-leader-election".to_owned(),
    ];
    // Kinds that the Gateway API's standard channel lacks, so they do not exist here.
    let absent = ["tlsroutes", "tcproutes", "backendtlspolicies"];
    flags.extend(absent.map(|name| format!("--disable-feature={name}")));
    for (name, port) in [
        ("xds", ports.xds),
        ("http", ports.health),
        ("health", ports.health),
        ("debug-http", ports.debug),
        ("stats", ports.stats),
    ] {
        flags.extend(loopback(name, port));
    }
    flags
}

/// Flags of `contour bootstrap`, which writes Envoy's configuration file.
pub(super) fn bootstrap(files: &Files, ports: Ports) -> Vec<String> {
    vec![
        "bootstrap".to_owned(),
        files.path("envoy.json"),
        "--xds-address=127.0.0.1".to_owned(),
        format!("--xds-port={}", ports.xds),
        format!("--admin-address={}", files.path("envoy.sock")),
        format!("--envoy-cafile={}", files.path("ca.crt")),
        format!("--envoy-cert-file={}", files.path("envoy.crt")),
        format!("--envoy-key-file={}", files.path("envoy.key")),
    ]
}

/// Flags of Envoy, which allows no `=` between a flag and its value. Hot restarts are off: they use shared
/// memory with one name for all Envoys of a machine.
pub(super) fn envoy(files: &Files) -> Vec<String> {
    let config = files.path("envoy.json");
    let flags = [
        ("--config-path", config.as_str()),
        ("--service-cluster", NAMESPACE),
        ("--service-node", "envoy"),
        ("--concurrency", "2"),
        ("--log-level", "warning"),
    ];
    let flags = flags.into_iter().flat_map(|(name, value)| [name, value]);
    flags
        .chain(["--disable-hot-restart"])
        .map(str::to_owned)
        .collect()
}
