//! Which addresses a callback may be sent to. Pure.
//!
//! A job's author could use the operator to reach addresses that the author cannot reach (server-side
//! request forgery). Therefore callbacks go only to addresses of the public internet, according to
//! IANA's special-purpose registries (RFC 6890 and its successors), and to hosts and networks that the
//! installation allows. An address that embeds an IPv4 address is checked by that address, or refused.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use url::{Host, Url};

const REFUSED_V4: &[(Ipv4Net, &str)] = &[
    (v4([0, 0, 0, 0], 8), "an unspecified address"),
    (v4([10, 0, 0, 0], 8), "a private address"),
    (v4([100, 64, 0, 0], 10), "a carrier's shared address"),
    (v4([127, 0, 0, 0], 8), "a loopback address"),
    // The metadata server of a cloud provider, within a public range.
    (v4([168, 63, 129, 16], 32), "a metadata address"),
    (v4([169, 254, 0, 0], 16), "a link-local or metadata address"),
    (v4([172, 16, 0, 0], 12), "a private address"),
    (v4([192, 0, 0, 0], 24), "a reserved address"),
    (v4([192, 0, 2, 0], 24), "a documentation address"),
    (v4([192, 88, 99, 0], 24), "a 6to4 relay's address"),
    (v4([192, 168, 0, 0], 16), "a private address"),
    (v4([198, 18, 0, 0], 15), "a benchmarking address"),
    (v4([198, 51, 100, 0], 24), "a documentation address"),
    (v4([203, 0, 113, 0], 24), "a documentation address"),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([240, 0, 0, 0], 4), "a reserved or broadcast address"),
];

/// Refused networks within [`GLOBAL_V6`]; addresses outside of it are refused anyway.
const REFUSED_V6: &[(Ipv6Net, &str)] = &[
    // IETF protocol assignments: Teredo, benchmarking, ORCHID and others.
    (v6([0x2001, 0, 0], 23), "a special-purpose address"),
    (v6([0x2001, 0x0db8, 0], 32), "a documentation address"),
    (v6([0x2002, 0, 0], 16), "a 6to4 address"),
    (v6([0x3fff, 0, 0], 20), "a documentation address"),
];

const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// The well-known prefix of NAT64 (RFC 6052): the last 32 bits are the IPv4 address. An IPv6-only
/// cluster reaches every IPv4 receiver through it.
const NAT64: Ipv6Net = v6([0x0064, 0xff9b, 0], 96);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c]: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// Kind of an address to which callbacks are not sent; `None` for a public one.
pub(crate) fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let mut refused = REFUSED_V4.iter();
    let (_, what) = refused.find(|(net, _)| net.contains(&address))?;
    Some(what)
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if NAT64.contains(&address) {
        let [.., a, b, c, d] = address.octets();
        return refusal_v4(Ipv4Addr::new(a, b, c, d));
    }
    if !GLOBAL_V6.contains(&address) {
        return Some(kind_v6(address));
    }
    let mut refused = REFUSED_V6.iter();
    let (_, what) = refused.find(|(net, _)| net.contains(&address))?;
    Some(what)
}

/// Kind of an IPv6 address outside of [`GLOBAL_V6`], for the message.
fn kind_v6(address: Ipv6Addr) -> &'static str {
    if address.is_unspecified() {
        "an unspecified address"
    } else if address.is_loopback() {
        "a loopback address"
    } else if address.to_ipv4().is_some() {
        "an IPv4 address in IPv6 form"
    } else if address.is_unique_local() {
        "a private address"
    } else if address.is_unicast_link_local() {
        "a link-local address"
    } else if address.is_multicast() {
        "a multicast address"
    } else {
        "a reserved address"
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A host as written in the URL, whatever its address, on one port or on all.
    Host(Host, Option<u16>),
    /// A network, whatever the host's name.
    Network(IpNet),
}

/// An entry of the allow-list that is neither a host nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither host[:port] nor a network: write hooks.example.com, 10.1.2.3:8443, [fd00::1]:8443 or 10.0.0.0/8"
)]
pub struct InvalidAllowed(String);

impl FromStr for Allowed {
    type Err = InvalidAllowed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAllowed(text.to_owned());
        if text.contains('/') {
            let network: IpNet = text.parse().map_err(|_| invalid())?;
            return Ok(Self::Network(network.trunc()));
        }
        // Parsed as part of a URL, so that it is normalised like the callback's URL.
        let url = Url::parse(&format!("https://{text}")).map_err(|_| invalid())?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let host = url.host().filter(|_| bare).ok_or_else(invalid)?.to_owned();
        // An address without a port also allows names that resolve to it.
        let lone = |address: IpAddr| Ok(Self::Network(address.into()));
        let port = match text.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => Some(port.parse().map_err(|_| invalid())?),
            _ => None,
        };
        match (host, port) {
            (Host::Ipv4(address), None) => lone(address.into()),
            (Host::Ipv6(address), None) => lone(address.into()),
            (host, port) => Ok(Self::Host(host, port)),
        }
    }
}

/// Whether the list contains the URL's host, so that its addresses need no check.
pub(crate) fn names(allowed: &[Allowed], url: &Url) -> bool {
    allowed.iter().any(|each| match each {
        Allowed::Host(host, port) => {
            url.host().is_some_and(|of_url| of_url == *host)
                && port.is_none_or(|port| url.port_or_known_default() == Some(port))
        }
        Allowed::Network(_) => false,
    })
}

/// Kind of an address that is neither public nor in a network of the list.
pub(crate) fn refusal_but(allowed: &[Allowed], address: IpAddr) -> Option<&'static str> {
    let allows = |each: &Allowed| match each {
        Allowed::Network(network) => network.contains(&address),
        Allowed::Host(..) => false,
    };
    refusal(address).filter(|_| !allowed.iter().any(allows))
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
