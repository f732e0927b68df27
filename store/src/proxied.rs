//! An HTTP client whose requests go through the proxies of the environment. The SDK has proxies of its own, but its
//! reading of `NO_PROXY` is another, and it knows one proxy for both schemes only.

use crate::StoreError;
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use fovea_proxy::{Proxies, ProxyUrl};
use std::sync::Arc;
use url::Url;

/// A client with these proxies.
pub(crate) fn http_client(
    tls: &TlsContext,
    proxies: &Proxies,
) -> Result<SharedHttpClient, StoreError> {
    let through = |proxy: Option<&ProxyUrl>| proxy.map(|proxy| through(tls, proxy)).transpose();
    Ok(SharedHttpClient::new(Client {
        https: through(proxies.https())?,
        http: through(proxies.http())?,
        direct: Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .build_https(),
        proxies: Arc::new(proxies.clone()),
    }))
}

/// A client that sends every request through `proxy`.
fn through(tls: &TlsContext, proxy: &ProxyUrl) -> Result<SharedHttpClient, StoreError> {
    let config = ProxyConfig::all(proxy.as_url().as_str())
        .map_err(|error| StoreError::Config(format!("the proxy {proxy}: {error}")))?;
    let tls = tls.clone();
    let connector = move |settings: Option<&HttpConnectorSettings>,
                          components: Option<&RuntimeComponents>| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .proxy_config(config.clone());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    };
    Ok(Builder::new().build_with_connector_fn(connector))
}

#[derive(Debug)]
struct Client {
    proxies: Arc<Proxies>,
    direct: SharedHttpClient,
    https: Option<SharedHttpClient>,
    http: Option<SharedHttpClient>,
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let of = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(Connectors {
            proxies: Arc::clone(&self.proxies),
            direct: of(&self.direct),
            https: self.https.as_ref().map(of),
            http: self.http.as_ref().map(of),
        })
    }
}

#[derive(Debug)]
struct Connectors {
    proxies: Arc<Proxies>,
    direct: SharedHttpConnector,
    https: Option<SharedHttpConnector>,
    http: Option<SharedHttpConnector>,
}

impl Connectors {
    fn of(&self, url: &str) -> &SharedHttpConnector {
        let url = Url::parse(url).ok();
        let proxied = url.filter(|url| self.proxies.proxy_of(url).is_some());
        let connector = proxied.and_then(|url| match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        });
        connector.unwrap_or(&self.direct)
    }
}

impl HttpConnector for Connectors {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.of(request.uri()).call(request)
    }
}
