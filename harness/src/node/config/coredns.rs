//! CoreDNS resolves the cluster's names only; it never uses the machine's name servers.

use std::net::Ipv4Addr;
use std::path::Path;

/// Low, because tests resolve names as soon as they exist.
const TTL_SECONDS: u32 = 1;

/// The Corefile: the cluster's names from the API server, no others.
pub(in super::super) fn file(listen: Ipv4Addr, kubeconfig: &Path) -> String {
    format!(
        "cluster.local:53 in-addr.arpa:53 {{
    bind {listen}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {}
        ttl {TTL_SECONDS}
    }}
}}
.:53 {{
    bind {listen}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
",
        kubeconfig.display()
    )
}
