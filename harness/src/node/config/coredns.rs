//! The cluster's names, and no others: nothing is asked of the machine's own name servers.

use std::net::Ipv4Addr;
use std::path::Path;

/// How old an answer may be: tests look for names as soon as they are there.
const TTL_SECONDS: u32 = 1;

/// A Corefile.
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
