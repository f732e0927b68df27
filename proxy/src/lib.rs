//! Which HTTP proxy a request goes through, by `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. All clients of Fovea
//! that heed these variables ask here, so that they agree with one another and with Kubernetes' own programs:
//! the HTTP libraries below them each read the variables in another way.

mod bypass;
mod environment;
mod proxy_url;

pub use bypass::InvalidEntry;
pub use environment::{ClientError, Proxies, ProxyError};
pub use proxy_url::{InvalidProxyUrl, ProxyUrl};
