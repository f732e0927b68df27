//! Authentication and rate limits.

use ipnet::IpNet;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthConfig {
    /// How clients authenticate. `none`: not at all, and only the namespace of --namespace is
    /// served. `kubernetes`: by a bearer token of the cluster, whose user needs rights on
    /// inferencejobs in the requested namespace.
    #[arg(long = "auth", env = "FOVEA_API_AUTH", value_enum, default_value_t = AuthMode::None)]
    pub mode: AuthMode,

    /// Accepted audiences of bearer tokens; a token must have one of them. Comma-separated. Clients
    /// get such a token by `kubectl create token --audience fovea`, and need not send one that is
    /// valid for the API server itself.
    #[arg(
        long = "auth-audiences",
        env = "FOVEA_API_AUTH_AUDIENCES",
        value_delimiter = ',',
        default_value = "fovea"
    )]
    pub audiences: Vec<String>,

    /// Origins whose web pages may call the API from a browser (CORS), such as
    /// `https://app.example.org`, or `*` for all. Comma-separated. Default: none.
    #[arg(
        long,
        env = "FOVEA_API_CORS_ORIGINS",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub cors_origins: Vec<http::HeaderValue>,
}

/// Ways to authenticate a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuthMode {
    /// No authentication; only the namespace of --namespace is served.
    None,
    /// Bearer tokens, checked by `TokenReview`; rights are checked by `SubjectAccessReview`.
    Kubernetes,
}

/// Flags of rate limits. A limit of 0 disables it; each allows a burst of twice its rate.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Rate limits")]
pub struct RatesConfig {
    /// Maximum rate of submissions, cancels and deletes per user, or per client address without
    /// authentication, in requests per second; 0 disables the limit. Beyond it requests are
    /// answered 429. Bursts may have twice the rate. Default: 100 with authentication, no limit
    /// without.
    #[arg(long = "rate-limit-writes", env = "FOVEA_API_RATE_LIMIT_WRITES")]
    pub writes: Option<u32>,

    /// Maximum rate of reads per user, or per client address without authentication, in requests
    /// per second; 0 disables the limit. Beyond it requests are answered 429. Bursts may have twice
    /// the rate. Default: 500 with authentication, no limit without.
    #[arg(long = "rate-limit-reads", env = "FOVEA_API_RATE_LIMIT_READS")]
    pub reads: Option<u32>,

    /// Maximum rate of token checks at the API server per client address, in tokens per second; 0
    /// disables the limit. It protects the API server from made-up tokens. A valid token is checked
    /// once in ten seconds, however often it is used.
    #[arg(
        long = "rate-limit-token-reviews",
        env = "FOVEA_API_RATE_LIMIT_TOKEN_REVIEWS",
        default_value_t = 50
    )]
    pub token_reviews: u32,

    /// Networks (CIDRs) of reverse proxies whose --forwarded-header is trusted for a client's
    /// address. Comma-separated. Default: none, so rate limits see the proxy as the client.
    #[arg(long, env = "FOVEA_API_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,

    /// Header in which the trusted proxies send the client's address. The other one is ignored,
    /// since a client could set it itself.
    #[arg(
        long,
        env = "FOVEA_API_FORWARDED_HEADER",
        value_enum,
        default_value_t = ForwardedHeader::XForwardedFor
    )]
    pub forwarded_header: ForwardedHeader,
}

/// Headers with a client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: client, proxy`.
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239).
    Forwarded,
}

fn origin(text: &str) -> Result<http::HeaderValue, String> {
    let wrong = || format!("{text:?} is no origin such as https://app.example.org");
    if text != "*" {
        let url = url::Url::parse(text).map_err(|_| wrong())?;
        // As browsers send it: no path, no final slash, no default port.
        if url.origin().ascii_serialization() != text {
            return Err(wrong());
        }
    }
    http::HeaderValue::from_str(text).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for good in ["*", "https://app.example.org", "http://localhost:3000"] {
            assert!(origin(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "app.example.org",
            "https://a.org/",
            "https://A.org",
            "null",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
