//! The kubelet's configuration.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::json;

use crate::cluster::KubeletFiles;

/// The file's text. `cgroup` is an existing cgroup, `resolv_conf` a file without name servers.
pub(in super::super) fn file(
    files: &KubeletFiles,
    names: Ipv4Addr,
    cgroup: &str,
    resolv_conf: &Path,
) -> String {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": files.authority},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": files.certificate,
        "tlsPrivateKeyFile": files.key,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": [names],
        "clusterDomain": "cluster.local",
        "resolvConf": resolv_conf,
        "oomScoreAdj": 0,
        // Pods see changed Secrets within seconds, which keeps tests short.
        "syncFrequency": "5s",
        // No eviction because the machine's disk is full: tests do not depend on it.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": false,
    });
    config.to_string()
}
