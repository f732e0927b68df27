//! Network of the pods. `ptp` routes all traffic between pods, also on one node. With a bridge, the answer
//! of a service to a pod on the same node would bypass kube-proxy's rewriting, because some kernels do not
//! show bridged packets to iptables.

use serde_json::json;

/// The network configuration list for pods with addresses from `subnet`.
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
