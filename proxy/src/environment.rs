//! The proxies of a process's environment.

use crate::bypass::{InvalidEntry, NoProxy, Target};
use crate::proxy_url::{InvalidProxyUrl, ProxyUrl};
use url::Url;

/// Each variable, and the form of its name that counts where the first one is not set.
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const NO: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The proxies that an environment names. `ALL_PROXY` is not read, as in Kubernetes' own programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    https: Option<ProxyUrl>,
    http: Option<ProxyUrl>,
    no_proxy: NoProxy,
    /// `NO_PROXY` as written.
    no_proxy_text: String,
}

/// A variable that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// `HTTPS_PROXY` or `HTTP_PROXY`, in upper or lower case.
    #[error("{variable}: {why}")]
    Url {
        /// Name of the variable.
        variable: &'static str,
        /// What is wrong with its value.
        why: InvalidProxyUrl,
    },
    /// `NO_PROXY`, in upper or lower case.
    #[error("{variable}: {why}")]
    NoProxy {
        /// Name of the variable.
        variable: &'static str,
        /// The first wrong entry.
        why: InvalidEntry,
    },
}

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The environment's proxies are invalid.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// For instance: the system has no certificate authorities.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
}

impl Proxies {
    /// The proxies of this process's environment.
    pub fn from_env() -> Result<Self, ProxyError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The proxies of the environment that `value` reads.
    pub fn from_variables(value: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let first = |names: [&'static str; 2]| {
            let mut set = names
                .into_iter()
                .filter_map(|name| Some((name, value(name)?)));
            set.find(|(_, value)| !value.trim().is_empty())
        };
        let url = |names| match first(names) {
            None => Ok(None),
            Some((variable, text)) => match text.parse() {
                Ok(url) => Ok(Some(url)),
                Err(why) => Err(ProxyError::Url { variable, why }),
            },
        };
        let (variable, no_proxy_text) = first(NO).unwrap_or_default();
        Ok(Self {
            https: url(HTTPS)?,
            http: url(HTTP)?,
            no_proxy: NoProxy::parse(&no_proxy_text)
                .map_err(|why| ProxyError::NoProxy { variable, why })?,
            no_proxy_text,
        })
    }

    /// Whether no request goes through a proxy.
    pub fn is_empty(&self) -> bool {
        self.https.is_none() && self.http.is_none()
    }

    /// The proxy of requests to https URLs.
    pub fn https(&self) -> Option<&ProxyUrl> {
        self.https.as_ref()
    }

    /// The proxy of requests to http URLs.
    pub fn http(&self) -> Option<&ProxyUrl> {
        self.http.as_ref()
    }

    /// `NO_PROXY` as written; empty if it is not set.
    pub fn no_proxy(&self) -> &str {
        &self.no_proxy_text
    }

    /// The proxy that a request to `url` goes through; `None` if it goes directly.
    pub fn proxy_of(&self, url: &Url) -> Option<&ProxyUrl> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            "http" => self.http.as_ref(),
            _ => None,
        }?;
        let target = Target {
            host: url.host_str()?,
            port: url.port_or_known_default()?,
        };
        (!self.no_proxy.covers(target)).then_some(proxy)
    }

    /// These proxies as a rule of reqwest's. It takes the place of reqwest's own reading of the environment.
    pub fn rule(&self) -> reqwest::Proxy {
        let proxies = self.clone();
        reqwest::Proxy::custom(move |url| {
            let proxy = proxies.proxy_of(url)?;
            Some(proxy.as_url().clone())
        })
    }

    /// Builds a client whose requests go through this process's proxies.
    pub fn client(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ClientError> {
        let proxies = Self::from_env()?;
        let builder = if proxies.is_empty() {
            builder.no_proxy()
        } else {
            builder.proxy(proxies.rule())
        };
        Ok(builder.build()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, ProxyError> {
        Proxies::from_variables(|name| {
            let set = variables.iter().find(|(set, _)| *set == name)?;
            Some(set.1.to_owned())
        })
    }

    /// The proxy of a request to `url`.
    fn proxy_of(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = proxies(variables).unwrap();
        let proxy = proxies.proxy_of(&url.parse().unwrap());
        proxy.map(ToString::to_string)
    }

    #[test]
    fn the_url_s_scheme_chooses_the_variable() {
        let both = [("HTTPS_PROXY", "secure:1"), ("HTTP_PROXY", "plain:2")];
        let proxy = |url| proxy_of(&both, url);
        assert_eq!(proxy("https://s3.test"), Some("http://secure:1".to_owned()));
        assert_eq!(proxy("http://s3.test"), Some("http://plain:2".to_owned()));
        assert_eq!(proxy_of(&both[..1], "http://s3.test"), None);
        assert_eq!(proxy_of(&both[1..], "https://s3.test"), None);
    }

    #[test]
    fn upper_case_goes_before_lower_case_and_an_empty_value_is_none() {
        let url = "https://s3.test";
        let lower = [("https_proxy", "lower:1"), ("HTTPS_PROXY", "")];
        assert_eq!(proxy_of(&lower, url), Some("http://lower:1".to_owned()));
        let upper = [("https_proxy", "lower:1"), ("HTTPS_PROXY", "upper:2")];
        assert_eq!(proxy_of(&upper, url), Some("http://upper:2".to_owned()));
        let not = [("HTTPS_PROXY", "upper:2"), ("no_proxy", "s3.test")];
        assert_eq!(proxy_of(&not, url), None);
        let neither = [("ALL_PROXY", "all:3"), ("all_proxy", "socks5://all:3")];
        assert!(proxies(&neither).unwrap().is_empty());
    }

    #[test]
    fn no_proxy_knows_the_default_port_of_a_scheme() {
        let variables = [("HTTPS_PROXY", "a:1"), ("NO_PROXY", "s3.test:443")];
        assert_eq!(proxy_of(&variables, "https://s3.test"), None);
        assert!(proxy_of(&variables, "https://s3.test:8443").is_some());
    }

    #[test]
    fn an_error_names_the_variable_that_is_wrong_and_not_its_password() {
        for (name, value) in [
            ("HTTPS_PROXY", "socks5://user:secret@proxy.test:1080"),
            ("https_proxy", "http://user:secret@proxy.test:port"),
            ("HTTP_PROXY", "http://user:secret@proxy.test/path"),
            ("no_proxy", "http://s3.test"),
        ] {
            let error = proxies(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn printed_proxies_contain_no_password() {
        let set = [("HTTPS_PROXY", "http://user:secret@proxy.test:1")];
        let printed = format!("{:?}", proxies(&set).unwrap());
        assert!(printed.contains("http://proxy.test:1"), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
    }
}
