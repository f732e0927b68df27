//! Pods' links. `ptp` routes between a node's pods as between nodes: with a bridge, what a service
//! answers to a pod of the same node would take a shortcut past kube-proxy's rewriting, on kernels
//! that do not show bridged packets to iptables.

use serde_json::json;

/// A network configuration list for the pods with addresses of `subnet`.
pub(in super::super) fn list(subnet: &str) -> String {
    let list = json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": subnet}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    list.to_string()
}
