//! Requests that go through no proxy: to this machine, and to what `NO_PROXY` names, by the rules of Go's
//! `httpproxy`, which Kubernetes' own programs follow.

use ipnet::IpNet;
use std::net::IpAddr;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// A name, or an address; an IPv6 one with brackets or without.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
}

/// `NO_PROXY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NoProxy {
    everything: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    Domain {
        /// In lower case, with a dot before it.
        suffix: String,
        /// Whether it is the domain itself, too, and not only what is below it.
        itself: bool,
        port: Option<u16>,
    },
}

/// An entry of `NO_PROXY` that could never match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is neither *, a host, a .suffix, an address nor a network such as 10.0.0.0/8, each but a network with or without :port"
)]
pub struct InvalidEntry(pub(crate) String);

impl NoProxy {
    /// Parses a list; commas and spaces separate its entries.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidEntry> {
        let entries = text.split(|c: char| c == ',' || c.is_whitespace());
        let mut all = Self::default();
        for entry in entries.filter(|entry| !entry.is_empty()) {
            if entry == "*" {
                all.everything = true;
            } else {
                let invalid = || InvalidEntry(entry.to_owned());
                all.rules.push(Rule::parse(entry).ok_or_else(invalid)?);
            }
        }
        Ok(all)
    }

    /// Whether a request to `target` goes through no proxy.
    pub(crate) fn covers(&self, target: Target<'_>) -> bool {
        let host = target.host.trim_matches(['[', ']']).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = address.to_canonical();
            is_this_machine_s(address)
                || self.everything
                || self
                    .rules
                    .iter()
                    .any(|rule| rule.has_address(address, target.port))
        } else {
            host == "localhost"
                || host.ends_with(".localhost")
                || self.everything
                || self
                    .rules
                    .iter()
                    .any(|rule| rule.has_name(host, target.port))
        }
    }
}

/// Loopback; and link-local, where clouds serve credentials to the machine that asks.
fn is_this_machine_s(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                // AWS serves its credentials there.
                || address.segments()[..2] == [0xfd00, 0x0ec2]
        }
    }
}

impl Rule {
    fn parse(entry: &str) -> Option<Self> {
        if let Ok(network) = entry.parse() {
            return Some(Self::Network(network));
        }
        let (host, port) = match entry.rsplit_once(':') {
            // The colon is one of an IPv6 address.
            _ if entry.parse::<IpAddr>().is_ok() || entry.ends_with(']') => (entry, None),
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let bare = host.trim_matches(['[', ']']);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        // `*.test` means `.test`.
        let star = host.strip_prefix('*').filter(|rest| rest.starts_with('.'));
        let name = star.unwrap_or(host);
        let below = name.starts_with('.');
        let name = name.strip_prefix('.').unwrap_or(name);
        let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        (!name.is_empty() && name.chars().all(legal)).then(|| Self::Domain {
            suffix: format!(".{}", name.to_ascii_lowercase()),
            itself: !below,
            port,
        })
    }

    fn has_address(&self, address: IpAddr, port: u16) -> bool {
        match self {
            Self::Network(network) => network.contains(&address),
            Self::Address(own, of) => *own == address && of.is_none_or(|of| of == port),
            Self::Domain { .. } => false,
        }
    }

    /// `name` is in lower case.
    fn has_name(&self, name: &str, port: u16) -> bool {
        match self {
            Self::Domain {
                suffix,
                itself,
                port: of,
            } => {
                let matches = name.ends_with(suffix.as_str()) || (*itself && name == &suffix[1..]);
                matches && of.is_none_or(|of| of == port)
            }
            Self::Network(_) | Self::Address(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `NO_PROXY=list` lets a request to `host:port` go directly.
    fn direct(list: &str, host: &str, port: u16) -> bool {
        NoProxy::parse(list).unwrap().covers(Target { host, port })
    }

    #[test]
    fn addresses_where_clouds_serve_credentials_are_direct() {
        for host in [
            "169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
        ] {
            assert!(direct("", host, 80), "{host}");
        }
        assert!(!direct("", "fd00:ec3::254", 80));
    }

    #[test]
    fn a_host_is_itself_and_what_is_below_it() {
        for host in ["s3.test", "S3.TEST", "eu.s3.test", "s3.test."] {
            assert!(direct("a.test, S3.test", host, 443), "{host}");
        }
        for host in ["nots3.test", "test", "s3.test.org", "10.0.0.1"] {
            assert!(!direct("a.test,s3.test", host, 443), "{host}");
        }
    }

    #[test]
    fn a_suffix_is_only_what_is_below_it() {
        for list in [".svc", "*.svc"] {
            assert!(direct(list, "minio.fovea.svc", 9000), "{list}");
            assert!(!direct(list, "svc", 9000), "{list}");
            assert!(!direct(list, "minio.fovea", 9000), "{list}");
        }
    }

    #[test]
    fn a_port_limits_an_entry_to_requests_to_that_port() {
        for (list, host) in [
            ("s3.test:9000", "s3.test"),
            (".test:9000", "s3.test"),
            ("10.1.2.3:9000", "10.1.2.3"),
            ("[fd00::1]:9000", "[fd00::1]"),
        ] {
            assert!(direct(list, host, 9000), "{list}");
            assert!(!direct(list, host, 443), "{list}");
        }
    }

    #[test]
    fn a_network_is_of_addresses_as_written_and_never_of_names() {
        let list = "10.0.0.0/8 fd00::/8,192.0.2.7,fd01::7";
        for host in [
            "10.255.0.1",
            "fd00::1",
            "[fd00::1]",
            "192.0.2.7",
            "::ffff:10.0.0.1",
        ] {
            assert!(direct(list, host, 80), "{host}");
        }
        for host in ["11.0.0.1", "192.0.2.8", "fe00::1", "ten.test"] {
            assert!(!direct(list, host, 80), "{host}");
        }
    }

    #[test]
    fn a_star_is_everything() {
        for host in ["s3.test", "10.0.0.1", "[fd00::1]"] {
            assert!(direct("*", host, 443), "{host}");
            assert!(direct("a.test,*", host, 443), "{host}");
        }
    }

    #[test]
    fn this_machine_and_its_link_are_reached_directly_whatever_the_list() {
        for host in [
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "127.0.0.1",
            "127.8.8.8",
            "[::1]",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "fe80::1",
        ] {
            assert!(direct("", host, 80), "{host}");
        }
        assert!(!direct("", "localhost.test", 80));
    }

    #[test]
    fn empty_entries_mean_nothing_and_entries_that_cannot_match_are_refused() {
        assert_eq!(NoProxy::parse(" , ,"), Ok(NoProxy::default()));
        for entry in [
            "http://s3.test",
            "s3.test/path",
            "10.0.0.0/33",
            "10.*",
            "*s3.test",
            "s3.test:https",
            "user@s3.test",
            ".",
        ] {
            let error = NoProxy::parse(&format!("a.test,{entry}")).unwrap_err();
            assert_eq!(error, InvalidEntry(entry.to_owned()));
        }
    }
}
