//! Links between the machine, the nodes and the switch that joins them. Each link is a pair of ends. An end
//! is removed with its namespace, and its routes with it.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use super::addresses::Block;
use super::command::run;
use super::sandbox::Sandbox;
use crate::cluster::ClusterError;

/// Links the machine to the switch.
pub(super) async fn join_machine(block: Block, switch: &Sandbox) -> Result<(), ClusterError> {
    let (link, pid) = (block.link(), switch.pid().to_string());
    run(&[
        "ip", "link", "add", &link, "type", "veth", "peer", "name", "machine", "netns", &pid,
    ])
    .await?;
    let address = format!("{}/24", block.machine());
    run(&["ip", "address", "add", &address, "dev", &link]).await?;
    run(&["ip", "link", "set", &link, "up"]).await?;
    switch
        .run(&["ip", "link", "set", "machine", "master", "switch", "up"])
        .await?;
    Ok(())
}

/// Links node number `node` of `nodes` to the switch, with routes to services, other nodes and their pods.
pub(super) async fn join_node(
    block: Block,
    switch: &Sandbox,
    sandbox: &Sandbox,
    node: u8,
    nodes: u8,
) -> Result<(), ClusterError> {
    let (port, pid) = (format!("node{node}"), switch.pid().to_string());
    // `netns` takes a process id of the caller's namespace, which is the machine's.
    let node_pid = sandbox.pid().to_string();
    run(&[
        "ip", "link", "add", &port, "netns", &pid, "type", "veth", "peer", "name", "eth0", "netns",
        &node_pid,
    ])
    .await?;
    switch
        .run(&["ip", "link", "set", &port, "master", "switch", "up"])
        .await?;
    let address = format!("{}/24", block.node(node));
    sandbox
        .run(&["ip", "address", "add", &address, "dev", "eth0"])
        .await?;
    sandbox.run(&["ip", "link", "set", "eth0", "up"]).await?;
    // A node needs a route to services, although kube-proxy rewrites their addresses.
    let services = block.network().services;
    sandbox
        .run(&["ip", "route", "add", &services, "dev", "eth0"])
        .await?;
    for other in (1..=nodes).filter(|&other| other != node) {
        let (pods, via) = (block.pods_of(other), block.node(other).to_string());
        sandbox
            .run(&["ip", "route", "add", &pods, "via", &via])
            .await?;
    }
    // The machine reaches pods at their nodes, and services by the first one's kube-proxy.
    let via = block.node(node).to_string();
    run(&["ip", "route", "add", &block.pods_of(node), "via", &via]).await?;
    if node == 1 {
        run(&["ip", "route", "add", &services, "via", &via]).await?;
    }
    Ok(())
}

/// Whether the machine has a route other than the default one into a block. Such a block is in use.
pub(super) fn is_taken(block: Block) -> io::Result<bool> {
    Ok(overlaps(
        &std::fs::read_to_string("/proc/net/route")?,
        block.machine(),
    ))
}

/// `routes` as in `/proc/net/route`: addresses and masks in hexadecimal, the last byte first.
fn overlaps(routes: &str, address: Ipv4Addr) -> bool {
    const BLOCK: u32 = 0xffff_0000;
    let parse = |word: &str| Some(u32::from_str_radix(word, 16).ok()?.swap_bytes());
    routes.lines().skip(1).any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let route = words.get(1).zip(words.get(7));
        let route = route.and_then(|(to, mask)| Some((parse(to)?, parse(mask)?)));
        route.is_some_and(|(to, mask)| mask != 0 && (to ^ u32::from(address)) & mask & BLOCK == 0)
    })
}

/// Removes the machine's end, if any, and with it the other end and the routes.
pub(super) fn remove(link: &str) -> io::Result<()> {
    if !Path::new("/sys/class/net").join(link).exists() {
        return Ok(());
    }
    let removed = std::process::Command::new("ip")
        .args(["link", "delete", link])
        .output()?;
    // It may have been removed in between.
    if removed.status.success() || !Path::new("/sys/class/net").join(link).exists() {
        return Ok(());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&removed.stderr).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_with_a_route_is_taken_and_the_default_route_is_ignored() {
        let routes = |to: &str, mask: &str| {
            format!(
                "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                 eth0 {to} 00000000 0001 0 0 0 {mask} 0 0 0\n"
            )
        };
        let address = Block(3).machine();
        // 0.0.0.0/0, 10.202.0.0/16, 192.0.2.0/24
        for (to, mask) in [
            ("00000000", "00000000"),
            ("0000CA0A", "0000FFFF"),
            ("000200C0", "00FFFFFF"),
        ] {
            assert!(!overlaps(&routes(to, mask), address), "{to}/{mask}");
        }
        // 10.203.0.0/16, 10.203.7.0/24, 10.0.0.0/8
        for (to, mask) in [
            ("0000CB0A", "0000FFFF"),
            ("0007CB0A", "00FFFFFF"),
            ("0000000A", "000000FF"),
        ] {
            assert!(overlaps(&routes(to, mask), address), "{to}/{mask}");
        }
    }
}
