//! The proxies of runners' and imports' pods, which are the operator's own. A runner gets them only where its way
//! to the store leads through one, and never their user name and password: it holds no credentials.

use super::Build;
use fovea_proxy::{Proxies, ProxyUrl};
use fovea_store::StoreConfig;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use std::collections::BTreeMap;
use url::Url;

const HTTPS: &str = "HTTPS_PROXY";
const HTTP: &str = "HTTP_PROXY";
const NO: &str = "NO_PROXY";

/// Whether requests to the store go through a proxy.
pub(super) fn is_before(store: &StoreConfig, proxies: &Proxies) -> bool {
    let url = match &store.endpoint {
        Some(endpoint) => Some(endpoint.as_url().clone()),
        None => Url::parse(&format!("https://s3.{}.amazonaws.com", store.region)).ok(),
    };
    url.is_some_and(|url| proxies.proxy_of(&url).is_some())
}

/// Ports of the proxies, each once.
pub(super) fn ports(proxies: &Proxies) -> Vec<u16> {
    let both = [proxies.https(), proxies.http()].into_iter().flatten();
    let mut ports: Vec<_> = both.map(ProxyUrl::port).collect();
    ports.dedup();
    ports
}

/// The variables of a runner: names and values.
pub(super) fn of_runner(build: &Build) -> Vec<(&'static str, String)> {
    let shown = |proxy: &ProxyUrl| proxy.without_credentials();
    if !build.store_is_proxied {
        return Vec::new();
    }
    variables(&build.proxies, |proxy| shown(proxy).as_url().to_string())
}

/// The variables of an import, whose Secret is `secret`.
pub(super) fn of_import(build: &Build, secret: &str) -> Vec<EnvVar> {
    let named = variables(&build.proxies, |proxy| proxy.as_url().to_string());
    let is_secret = |name: &str| secret_data(build).contains_key(name);
    let each = named.into_iter().map(|(name, value)| {
        let (value, value_from) = if is_secret(name) {
            (None, Some(reference(secret, name)))
        } else {
            (Some(value), None)
        };
        EnvVar {
            name: name.to_owned(),
            value,
            value_from,
        }
    });
    each.collect()
}

/// The URLs that have a password, for an import's Secret.
pub(super) fn secret_data(build: &Build) -> BTreeMap<String, ByteString> {
    let both = [(HTTPS, build.proxies.https()), (HTTP, build.proxies.http())];
    let secret = both.into_iter().filter_map(|(name, proxy)| {
        let proxy = proxy.filter(|proxy| proxy.has_credentials())?;
        let text = proxy.as_url().to_string();
        Some((name.to_owned(), ByteString(text.into_bytes())))
    });
    secret.collect()
}

fn variables(proxies: &Proxies, text: impl Fn(&ProxyUrl) -> String) -> Vec<(&'static str, String)> {
    if proxies.is_empty() {
        return Vec::new();
    }
    let no_proxy = Some(proxies.no_proxy()).filter(|text| !text.is_empty());
    let named = [
        (HTTPS, proxies.https().map(&text)),
        (HTTP, proxies.http().map(&text)),
        (NO, no_proxy.map(str::to_owned)),
    ];
    let set = named
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    set.collect()
}

fn reference(secret: &str, key: &str) -> EnvVarSource {
    EnvVarSource {
        secret_key_ref: Some(SecretKeySelector {
            name: secret.to_owned(),
            key: key.to_owned(),
            optional: None,
        }),
        ..EnvVarSource::default()
    }
}
