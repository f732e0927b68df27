//! kube-proxy's configuration. It leaves the limits of connection tracking, which apply to the whole machine.

use std::path::Path;

use serde_json::json;

pub(in super::super) fn file(node: &str, pods: &str, kubeconfig: &Path) -> String {
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": kubeconfig},
        "clusterCIDR": pods,
        "hostnameOverride": node,
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        // Removed endpoints leave the rules at once.
        "iptables": {"minSyncPeriod": "0s"},
    });
    config.to_string()
}
