//! A client's address: the connection's, or the one that trusted proxies report.

use crate::config::{ForwardedHeader, RatesConfig};
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The proxies whose header is trusted.
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    header: ForwardedHeader,
}

impl Proxies {
    pub(crate) fn new(config: &RatesConfig) -> Self {
        Self {
            trusted: config.trusted_proxies.clone(),
            header: config.forwarded_header,
        }
    }

    /// The nearest address that is not a trusted proxy's. Each proxy appends its peer's address, so
    /// a client can forge only addresses further left.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        for address in self.addresses(headers).into_iter().rev() {
            // Nothing further left than an invalid address can be trusted.
            let Some(address) = address else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted
            .iter()
            .any(|network| network.contains(&address))
    }

    /// The header's addresses in order; `None` for an invalid one.
    fn addresses(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let name = match self.header {
            ForwardedHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            ForwardedHeader::Forwarded => http::header::FORWARDED,
        };
        let mut addresses = Vec::new();
        for line in headers.get_all(name) {
            let line = String::from_utf8_lossy(line.as_bytes());
            addresses.extend(line.split(',').map(|element| match self.header {
                ForwardedHeader::XForwardedFor => address(element),
                ForwardedHeader::Forwarded => forwarded_for(element).and_then(address),
            }));
        }
        addresses
    }
}

/// The `for` of one element of RFC 7239.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// An address, with or without a port, quotes and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let parsed = bare.parse::<IpAddr>().ok();
    parsed
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .map(|address| address.to_canonical())
}

/// The unit of rate limits: an IPv4 address, or the /64 of an IPv6 address, which one client owns.
pub(crate) fn one_client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn proxies(header: ForwardedHeader) -> Proxies {
        Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            header,
        }
    }

    fn client(header: ForwardedHeader, peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_str(line).unwrap();
            headers.append("x-forwarded-for", line.clone());
            headers.append("forwarded", line);
        }
        proxies(header)
            .client(peer.parse().unwrap(), &headers)
            .to_string()
    }

    #[test]
    fn the_nearest_address_that_is_not_a_trusted_proxy_s_is_the_client_s() {
        let client = |peer, lines: &[&str]| client(ForwardedHeader::XForwardedFor, peer, lines);
        assert_eq!(client("1.2.3.4", &["5.6.7.8"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["5.6.7.8"]), "5.6.7.8");
        // The client's own entries are further left.
        assert_eq!(
            client("10.0.0.1", &["9.9.9.9, 5.6.7.8, 10.0.0.2"]),
            "5.6.7.8"
        );
        assert_eq!(client("10.0.0.1", &["9.9.9.9", "5.6.7.8"]), "5.6.7.8");
        assert_eq!(client("10.0.0.1", &["9.9.9.9, unknown"]), "10.0.0.1");
        assert_eq!(
            client("::ffff:10.0.0.1", &["[2001:db8::1]:443"]),
            "2001:db8::1"
        );
        assert_eq!(client("fd00::1", &["10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn the_standard_header_is_read_with_its_quotes_and_brackets() {
        let client = |lines: &[&str]| client(ForwardedHeader::Forwarded, "10.0.0.1", lines);
        assert_eq!(client(&["for=5.6.7.8;proto=https"]), "5.6.7.8");
        assert_eq!(
            client(&[r#"proto=http; For="[2001:db8::1]:99""#]),
            "2001:db8::1"
        );
        assert_eq!(client(&["for=9.9.9.9, for=_hidden"]), "10.0.0.1");
        assert_eq!(client(&["for=9.9.9.9, by=10.0.0.3"]), "10.0.0.1");
    }

    #[test]
    fn all_addresses_of_a_64_bit_network_are_one_client() {
        let one = |text: &str| one_client(text.parse().unwrap()).to_string();
        assert_eq!(one("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(one("1.2.3.4"), "1.2.3.4");
    }

    proptest! {
        #[test]
        fn a_client_cannot_hide_its_own_address(written in "[ -~]{0,60}") {
            let line = format!("{written},5.6.7.8");
            prop_assert_eq!(client(ForwardedHeader::XForwardedFor, "10.0.0.1", &[&line]), "5.6.7.8");
            prop_assert_eq!(client(ForwardedHeader::XForwardedFor, "5.6.7.8", &[&written]), "5.6.7.8");
        }
    }
}
