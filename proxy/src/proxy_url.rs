//! The URL of a proxy.

use std::fmt;
use std::str::FromStr;
use url::Url;

/// URL of an HTTP proxy. `Display` and `Debug` leave its user name and password out, so that a configuration
/// can be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

/// A text that names no proxy. The text itself is not part of the message: it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxyUrl {
    /// Not a URL, or one without a host.
    #[error(
        "not the URL of a proxy: write http://host:port, with special characters in a password percent-encoded"
    )]
    NotAUrl,
    /// A scheme other than `http` and `https`.
    #[error(
        "proxies of the scheme {0:?} are not supported: name an HTTP proxy, as http://host:port or https://host:port"
    )]
    Scheme(String),
    /// More than a host and a port.
    #[error("a proxy has no path, query or fragment: write http://host:port")]
    Path,
}

impl ProxyUrl {
    /// The URL with its user name and password.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The proxy's port.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }

    /// Whether the URL has a user name or a password.
    pub fn has_credentials(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }

    /// The same proxy without user name and password.
    #[must_use]
    pub fn without_credentials(&self) -> Self {
        let mut url = self.0.clone();
        // Both only fail for a URL without a host, and this one has one.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        Self(url)
    }
}

impl FromStr for ProxyUrl {
    type Err = InvalidProxyUrl;

    /// A text without a scheme means `http`, as in curl and Go.
    fn from_str(text: &str) -> Result<Self, InvalidProxyUrl> {
        let text = text.trim();
        let url = if text.contains("://") {
            Url::parse(text)
        } else {
            Url::parse(&format!("http://{text}"))
        };
        let url = url.map_err(|_| InvalidProxyUrl::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidProxyUrl::Scheme(url.scheme().to_owned()));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidProxyUrl::Path);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "{}://{host}:{}", self.0.scheme(), self.port())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ProxyUrl, InvalidProxyUrl> {
        text.parse()
    }

    #[test]
    fn a_proxy_is_an_http_or_https_url_and_http_goes_without_saying() {
        for (text, shown) in [
            ("http://proxy.test:3128", "http://proxy.test:3128"),
            ("proxy.test:3128", "http://proxy.test:3128"),
            (" http://proxy.test/ ", "http://proxy.test:80"),
            ("https://proxy.test", "https://proxy.test:443"),
            ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
            ("10.1.2.3:3128", "http://10.1.2.3:3128"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn another_scheme_and_a_malformed_url_are_told_with_what_to_write() {
        for scheme in ["socks5", "socks5h", "ftp"] {
            let error = parse(&format!("{scheme}://user:secret@proxy.test:1080")).unwrap_err();
            assert_eq!(error, InvalidProxyUrl::Scheme(scheme.to_owned()));
            assert!(error.to_string().contains("http://host:port"));
        }
        for text in [
            "",
            "http://",
            "http://proxy.test:port",
            "http://a:s#cret@b:1",
        ] {
            assert_eq!(parse(text), Err(InvalidProxyUrl::NotAUrl), "{text}");
        }
        assert_eq!(parse("http://a.test/b"), Err(InvalidProxyUrl::Path));
    }

    #[test]
    fn user_name_and_password_are_used_and_never_shown() {
        let proxy = parse("http://user:s%40cret@proxy.test:3128").unwrap();
        assert!(proxy.has_credentials());
        assert_eq!(proxy.as_url().password(), Some("s%40cret"));
        assert_eq!(format!("{proxy} {proxy:?}").matches("cret").count(), 0);
        let bare = proxy.without_credentials();
        assert!(!bare.has_credentials());
        assert_eq!(bare.as_url().as_str(), "http://proxy.test:3128/");
    }
}
