//! Access to the API server, and the proxy on the way to it.

use fovea_proxy::{InvalidProxyUrl, Proxies, ProxyError, ProxyUrl};
use http::Uri;
use kube::Config;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use std::error::Error;
use url::Url;

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The environment's proxies are invalid.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The kubeconfig names a proxy that cannot be used.
    #[error("the kubeconfig's proxy-url: {0}")]
    ProxyUrl(#[from] InvalidProxyUrl),
    /// kube's own reading of the variable is narrower than ours.
    #[error(
        "NO_PROXY cannot be used together with a kubeconfig: write its entries with a comma between each two, and no empty one ({0})"
    )]
    NoProxy(String),
    /// Neither a kubeconfig nor a pod's service account.
    #[error(
        "no Kubernetes cluster: set KUBECONFIG, or run in a pod (kubeconfig: {kubeconfig}; in a pod: {pod})"
    )]
    NoCluster {
        /// What is wrong with the kubeconfig.
        kubeconfig: String,
        /// What a pod would have.
        pod: InClusterError,
    },
}

/// Access by a kubeconfig, or else by the pod's service account. A kubeconfig's API server is reached through the
/// kubeconfig's `proxy-url`, or the proxy of the environment. A pod's is always reached directly: it
/// is within the cluster.
pub async fn kube_config() -> Result<Config, AccessError> {
    let proxies = Proxies::from_env()?;
    let mut config = match by_kubeconfig(&proxies).await {
        Ok(config) => config?,
        Err(KubeconfigError::ParseNoProxy(why)) => {
            return Err(AccessError::NoProxy(why.to_string()));
        }
        Err(error) => Config::incluster().map_err(|pod| AccessError::NoCluster {
            kubeconfig: chain(&error),
            pod,
        })?,
    };
    config.apply_debug_overrides();
    Ok(config)
}

/// The outer error: there is no usable kubeconfig.
async fn by_kubeconfig(
    proxies: &Proxies,
) -> Result<Result<Config, InvalidProxyUrl>, KubeconfigError> {
    let kubeconfig = Kubeconfig::read()?;
    let own = proxy_url(&kubeconfig);
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    // kube compares NO_PROXY with the proxy's own host instead of the API server's.
    Ok(proxy(own, &config.cluster_url, proxies).map(|proxy| {
        config.proxy_url = proxy;
        config
    }))
}

/// The `proxy-url` of the current context's cluster. As in kubectl, `NO_PROXY` is not for it.
fn proxy_url(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref()?;
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|each| each.name == *current)?;
    let name = &context.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|each| each.name == *name)?;
    let url = cluster.cluster.as_ref()?.proxy_url.clone();
    url.filter(|url| !url.is_empty())
}

/// The proxy on the way to `server`. Pure.
fn proxy(
    own: Option<String>,
    server: &Uri,
    proxies: &Proxies,
) -> Result<Option<Uri>, InvalidProxyUrl> {
    let proxy: Option<ProxyUrl> = match own {
        Some(own) => Some(own.parse()?),
        None => Url::parse(&server.to_string())
            .ok()
            .and_then(|server| proxies.proxy_of(&server).cloned()),
    };
    let uri = |proxy: ProxyUrl| proxy.as_url().as_str().parse();
    let uri = proxy.map(uri).transpose();
    uri.map_err(|_| InvalidProxyUrl::NotAUrl)
}

/// An error and its causes as one line. Some messages contain their cause's already.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn proxies(no_proxy: &str) -> Proxies {
        let value = |name: &str| match name {
            "HTTPS_PROXY" => Some("http://user:s%40cret@proxy.test:3128".to_owned()),
            "NO_PROXY" => Some(no_proxy.to_owned()),
            _ => None,
        };
        Proxies::from_variables(value).unwrap()
    }

    fn proxy_to(own: Option<&str>, server: &str, no_proxy: &str) -> Option<String> {
        let own = own.map(str::to_owned);
        let proxy = proxy(own, &server.parse().unwrap(), &proxies(no_proxy)).unwrap();
        proxy.map(|proxy| proxy.to_string())
    }

    #[test]
    fn no_proxy_is_compared_with_the_api_server_s_host_and_not_with_the_proxy_s() {
        let of_the_environment = "http://user:s%40cret@proxy.test:3128/";
        let server = "https://kubernetes.test:6443";
        let proxy = |no_proxy| proxy_to(None, server, no_proxy);
        assert_eq!(proxy("proxy.test").as_deref(), Some(of_the_environment));
        for direct in ["kubernetes.test", ".test", "kubernetes.test:6443", "*"] {
            assert_eq!(proxy(direct), None, "{direct}");
        }
        assert_eq!(proxy_to(None, "https://127.0.0.1:6443", ""), None);
        assert_eq!(proxy_to(None, "https://10.0.0.1", "10.0.0.0/8"), None);
    }

    #[test]
    fn a_kubeconfig_s_own_proxy_goes_before_the_environment_s_whatever_no_proxy_says() {
        let own = proxy_to(Some("other.test:8080"), "https://127.0.0.1:6443", "*");
        assert_eq!(own.as_deref(), Some("http://other.test:8080/"));
        let socks = Some("socks5://other.test".to_owned());
        let server = "https://kubernetes.test".parse().unwrap();
        let error = proxy(socks, &server, &proxies("")).unwrap_err();
        assert_eq!(error, InvalidProxyUrl::Scheme("socks5".to_owned()));
    }

    #[test]
    fn the_proxy_of_the_current_context_is_the_kubeconfig_s() {
        let cluster = |name: &str, proxy: &str| json!({"name": name, "cluster": {"server": "https://a.test", "proxy-url": proxy}});
        let context =
            |name: &str| json!({"name": name, "context": {"cluster": name, "user": "user"}});
        let kubeconfig = json!({
            "clusters": [cluster("one", "http://one.test"), cluster("two", "http://two.test"), cluster("none", "")],
            "contexts": [context("one"), context("two"), context("none")],
        });
        for (current, expected) in [("two", Some("http://two.test")), ("none", None)] {
            let mut kubeconfig = kubeconfig.clone();
            kubeconfig["current-context"] = json!(current);
            let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).unwrap();
            assert_eq!(proxy_url(&kubeconfig).as_deref(), expected);
        }
    }
}
