use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn list(entries: &[&str]) -> Vec<Allowed> {
    entries.iter().map(|entry| entry.parse().unwrap()).collect()
}

#[test]
fn public_addresses_are_allowed() {
    for public in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2001:200::1",
        "2606:4700::1111",
        "2a00::1",
        "64:ff9b::8.8.8.8",
    ] {
        assert_eq!(refusal(ip(public)), None, "{public}");
    }
}

#[test]
fn no_other_address_is_allowed_in_any_form() {
    for (inner, kind) in [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("10.0.0.1", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.1", "shared"),
        // A cloud's metadata within the shared range.
        ("100.100.100.200", "shared"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("168.63.129.16", "metadata"),
        ("169.254.169.254", "metadata"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "reserved"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4"),
        ("192.168.0.1", "private"),
        ("198.18.0.1", "benchmarking"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::127.0.0.1", "IPv4"),
        ("::8.8.8.8", "IPv4"),
        ("::ffff:127.0.0.1", "IPv4"),
        ("::ffff:8.8.8.8", "IPv4"),
        ("::ffff:0:127.0.0.1", "reserved"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::169.254.169.254", "metadata"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b:1::8.8.8.8", "reserved"),
        ("100::1", "reserved"),
        ("2001::1", "special"),
        ("2001:2::1", "special"),
        ("2001:20::1", "special"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::1", "6to4"),
        ("2002:808:808::1", "6to4"),
        ("3fff::1", "documentation"),
        ("5f00::1", "reserved"),
        ("fc00::1", "private"),
        ("fd00:ec2::254", "private"),
        ("fe80::1", "link-local"),
        ("fec0::1", "reserved"),
        ("ff02::1", "multicast"),
    ] {
        let refused = refusal(ip(inner)).unwrap_or("allowed");
        assert!(refused.contains(kind), "{inner}: {refused}");
    }
}

/// `url` parses them all as 127.0.0.1, and the parsed address is checked and connected to.
#[test]
fn odd_notations_are_parsed_as_addresses() {
    for odd in [
        "127.1",
        "127.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
    ] {
        let url = Url::parse(&format!("https://{odd}/")).unwrap();
        assert_eq!(url.host(), Some(Host::Ipv4(Ipv4Addr::LOCALHOST)), "{odd}");
    }
    for odd in ["[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]"] {
        let url = Url::parse(&format!("https://{odd}/")).unwrap();
        let Some(Host::Ipv6(address)) = url.host() else {
            panic!("{odd}")
        };
        assert!(refusal(address.into()).is_some(), "{odd}");
    }
}

#[test]
fn an_entry_is_a_host_with_or_without_port_or_a_network() {
    let host = |name: &str| Host::parse(name).unwrap();
    for (text, entry) in [
        (
            "Hooks.Example.com",
            Allowed::Host(host("hooks.example.com"), None),
        ),
        ("a.example:443", Allowed::Host(host("a.example"), Some(443))),
        ("10.1.2.3", Allowed::Network("10.1.2.3/32".parse().unwrap())),
        ("10.1.2.3:8443", Allowed::Host(host("10.1.2.3"), Some(8443))),
        (
            "[fd00::1]",
            Allowed::Network("fd00::1/128".parse().unwrap()),
        ),
        ("[fd00::1]:1", Allowed::Host(host("[fd00::1]"), Some(1))),
        (
            "10.0.0.9/8",
            Allowed::Network("10.0.0.0/8".parse().unwrap()),
        ),
        ("fd00::/8", Allowed::Network("fd00::/8".parse().unwrap())),
    ] {
        assert_eq!(text.parse(), Ok(entry), "{text}");
    }
    for wrong in [
        "",
        "a b",
        "me@a.example",
        "a.example/path",
        "10.0.0.0/33",
        "a.example:",
        "a.example:99999",
        "a.example?x",
        "fd00::1",
    ] {
        assert!(wrong.parse::<Allowed>().is_err(), "{wrong}");
    }
}

#[test]
fn a_named_host_is_allowed_on_its_port_and_no_other_host_is() {
    let list = list(&["a.example", "b.example:8443", "10.1.2.3:443"]);
    let named = |url: &str| names(&list, &Url::parse(url).unwrap());
    for good in [
        "https://a.example/hook",
        "https://A.example:1/",
        "https://b.example:8443/",
        "https://10.1.2.3/",
        "https://0xa010203/",
    ] {
        assert!(named(good), "{good}");
    }
    for bad in [
        "https://b.example/",
        "https://x.a.example/",
        "https://a.example.evil.example/",
        "https://10.1.2.4/",
        "https://10.1.2.3:444/",
    ] {
        assert!(!named(bad), "{bad}");
    }
}

#[test]
fn a_network_on_the_list_opens_its_addresses_only() {
    let list = list(&["10.1.0.0/16", "fd00::/8", "192.168.0.7"]);
    assert_eq!(refusal_but(&list, ip("10.1.2.3")), None);
    assert_eq!(refusal_but(&list, ip("fd12::1")), None);
    assert_eq!(refusal_but(&list, ip("192.168.0.7")), None);
    assert!(refusal_but(&list, ip("192.168.0.8")).is_some());
    assert!(refusal_but(&list, ip("10.2.0.1")).is_some());
    assert!(refusal_but(&list, ip("::ffff:10.1.2.3")).is_some());
}

proptest! {
    #[test]
    fn addresses_that_std_calls_special_are_refused(bits: u32) {
        let address = Ipv4Addr::from(bits);
        if address.is_private() || address.is_loopback() || address.is_link_local()
            || address.is_multicast() || address.is_broadcast() || address.is_documentation()
            || address.is_unspecified()
        {
            prop_assert!(refusal(address.into()).is_some());
        }
        prop_assert!(refusal(address.to_ipv6_mapped().into()).is_some());
        prop_assert!(refusal(address.to_ipv6_compatible().into()).is_some());
    }

    #[test]
    fn nothing_outside_of_global_unicast_is_allowed(bits: u128) {
        let address = Ipv6Addr::from(bits);
        if bits >> 125 != 1 && !NAT64.contains(&address) {
            prop_assert!(refusal(address.into()).is_some());
        }
    }
}
