//! Which external endpoints the operator will talk to, and with which token. The checks are pure.
//!
//! A pool's author could use the operator to reach hosts that the author cannot. Therefore a host must be on the operator's allow-list, plain http stays on
//! loopback, and a token goes only to the hosts that its Secret names.

use k8s_openapi::api::core::v1::Secret;
use std::net::IpAddr;
use url::{Host, Url};

/// The type of a Secret that holds a runner's bearer token; no other Secret is ever sent.
pub(crate) const TOKEN_SECRET_TYPE: &str = "fovea.dev/runner-token";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedEndpoint {
    /// Not a URL with a host.
    #[error("{0:?} is not a base URL such as https://gpu-1.example.com:8443")]
    Malformed(String),
    #[error("{0}: plain http is allowed on loopback only; use https")]
    PlainHttp(Url),
    #[error("{0}: its host is not on the operator's --external-host list")]
    NotAllowed(Url),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedToken {
    /// Another type of Secret: it was not made to be sent to a runner.
    #[error("Secret {0:?} is not of type {TOKEN_SECRET_TYPE}")]
    Type(String),
    #[error("Secret {name:?} has no text under the key {key:?}")]
    Key { name: String, key: &'static str },
    #[error("Secret {name:?} is for hosts {hosts:?}, not for {host:?}")]
    Host {
        name: String,
        hosts: String,
        host: String,
    },
}

/// The endpoint as a URL, if the operator may talk to it. `allowed` holds `host` or `host:port`.
pub(crate) fn endpoint(text: &str, allowed: &[String]) -> Result<Url, RefusedEndpoint> {
    let url = Url::parse(text).map_err(|_| RefusedEndpoint::Malformed(text.to_owned()))?;
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    let Some(host) = url.host().filter(|_| bare) else {
        return Err(RefusedEndpoint::Malformed(text.to_owned()));
    };
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&host) => {}
        "http" => return Err(RefusedEndpoint::PlainHttp(url)),
        _ => return Err(RefusedEndpoint::Malformed(text.to_owned())),
    }
    let name = host.to_string();
    let name_and_port = authority(&url);
    if allowed
        .iter()
        .any(|allowed| *allowed == name || *allowed == name_and_port)
    {
        Ok(url)
    } else {
        Err(RefusedEndpoint::NotAllowed(url))
    }
}

/// The bearer token for `url` out of `secret`, whose key `hosts` lists, separated by commas or
/// white space, the hosts (`host` or `host:port`) that the token is for.
pub(crate) fn token(secret: &Secret, url: &Url) -> Result<String, RefusedToken> {
    let name = secret.metadata.name.clone().unwrap_or_default();
    if secret.type_.as_deref() != Some(TOKEN_SECRET_TYPE) {
        return Err(RefusedToken::Type(name));
    }
    let text = |key: &'static str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        bytes
            .and_then(|bytes| String::from_utf8(bytes.0.clone()).ok())
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .ok_or_else(|| RefusedToken::Key {
                name: name.clone(),
                key,
            })
    };
    let hosts = text("hosts")?;
    let host = url.host().map(|host| host.to_string()).unwrap_or_default();
    let for_this_host = hosts
        .split(|c: char| c == ',' || c.is_whitespace())
        .any(|named| named == host || named == authority(url));
    if !for_this_host {
        return Err(RefusedToken::Host { name, hosts, host });
    }
    text("token")
}

fn authority(url: &Url) -> String {
    let host = url.host().map(|host| host.to_string()).unwrap_or_default();
    format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => IpAddr::V4(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn allowed() -> Vec<String> {
        vec![
            "127.0.0.1".into(),
            "gpu-1.example.com".into(),
            "gpu-2.example.com:8443".into(),
        ]
    }

    #[test]
    fn an_endpoint_on_the_allow_list_is_taken() {
        for good in [
            "http://127.0.0.1:9000",
            "https://gpu-1.example.com",
            "https://gpu-2.example.com:8443/",
        ] {
            assert!(endpoint(good, &allowed()).is_ok(), "{good}");
        }
    }

    #[test]
    fn every_other_endpoint_is_refused_with_its_reason() {
        for (bad, fragment) in [
            ("gpu", "base URL"),
            ("ftp://127.0.0.1", "base URL"),
            ("https://user:pw@gpu-1.example.com", "base URL"),
            ("https://gpu-1.example.com/path", "base URL"),
            ("https://gpu-1.example.com/?q", "base URL"),
            ("http://gpu-1.example.com", "loopback only"),
            ("https://gpu-2.example.com", "--external-host"),
            ("https://169.254.169.254", "--external-host"),
            ("https://gpu-1.example.com.evil.example", "--external-host"),
        ] {
            let refused = endpoint(bad, &allowed()).unwrap_err().to_string();
            assert!(refused.contains(fragment), "{bad}: {refused}");
        }
    }

    fn secret(type_: &str, entries: &[(&str, &str)]) -> Secret {
        let data = entries
            .iter()
            .map(|(key, text)| ((*key).into(), ByteString(text.as_bytes().to_vec())));
        Secret {
            type_: Some(type_.into()),
            data: Some(data.collect()),
            ..Default::default()
        }
    }

    #[test]
    fn a_token_goes_to_the_hosts_that_its_secret_names_and_nowhere_else() {
        let url = Url::parse("https://gpu-2.example.com:8443").unwrap();
        let with = |hosts| {
            token(
                &secret(TOKEN_SECRET_TYPE, &[("token", "t\n"), ("hosts", hosts)]),
                &url,
            )
        };
        assert_eq!(with("gpu-2.example.com").unwrap(), "t");
        assert_eq!(with("a.example.com, gpu-2.example.com:8443").unwrap(), "t");
        assert!(matches!(
            with("gpu-2.example.com:443"),
            Err(RefusedToken::Host { .. })
        ));
        assert!(matches!(
            with("example.com"),
            Err(RefusedToken::Host { .. })
        ));
    }

    #[test]
    fn a_secret_that_was_not_made_to_be_sent_is_not_sent() {
        let url = Url::parse("https://gpu-1.example.com").unwrap();
        let opaque = secret("Opaque", &[("token", "t"), ("hosts", "gpu-1.example.com")]);
        assert!(matches!(token(&opaque, &url), Err(RefusedToken::Type(_))));
        let hostless = secret(TOKEN_SECRET_TYPE, &[("token", "t")]);
        assert!(matches!(
            token(&hostless, &url),
            Err(RefusedToken::Key { key: "hosts", .. })
        ));
    }
}
