//! Addresses. Each cluster has its own block, so that several run side by side: `10.<200 + index>.0.0/16`,
//! with the machine and the nodes in the first /24.

use std::net::Ipv4Addr;

use crate::cluster::Network;

/// Upper bound on clusters side by side.
pub(super) const CLUSTERS: u8 = 16;
/// Upper bound on nodes of a cluster: 10.x.16.0/20 has room for these.
pub(super) const NODES: u8 = 15;

/// The addresses and names of the cluster with an index below [`CLUSTERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block(pub(super) u8);

impl Block {
    fn address(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 200 + self.0, third, fourth)
    }

    pub(super) fn machine(self) -> Ipv4Addr {
        self.address(0, 1)
    }

    /// A node's own address; nodes count from 1.
    pub(super) fn node(self, node: u8) -> Ipv4Addr {
        self.address(0, 10 + node)
    }

    pub(super) fn pods_of(self, node: u8) -> String {
        format!("{}/24", self.address(16 + node, 0))
    }

    pub(super) fn pods(self) -> String {
        format!("{}/20", self.address(16, 0))
    }

    pub(super) fn network(self) -> Network {
        Network {
            address: self.machine(),
            services: format!("{}/20", self.address(128, 0)),
            first_service: self.address(128, 1),
        }
    }

    pub(super) fn link(self) -> String {
        format!("fovea{}", self.0)
    }

    /// The cgroup that holds all pods, in every hierarchy.
    pub(super) fn cgroup(self) -> String {
        format!("fovea-{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_clusters_and_no_two_nodes_share_an_address() {
        let mut seen = HashSet::new();
        for block in (0..CLUSTERS).map(Block) {
            let network = block.network();
            assert!(seen.insert(block.machine().to_string()));
            assert!(seen.insert(network.services));
            assert!(seen.insert(block.pods()));
            for node in 1..=NODES {
                assert!(seen.insert(block.node(node).to_string()));
                assert!(seen.insert(block.pods_of(node)));
            }
        }
    }

    #[test]
    fn the_pods_of_every_node_are_among_the_clusters_pods() {
        for node in 1..=NODES {
            let third = 16 + node;
            assert_eq!(
                third & 0xf0,
                16,
                "10.200.{third}.0/24 is not in 10.200.16.0/20"
            );
        }
    }
}
