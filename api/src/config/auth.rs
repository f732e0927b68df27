//! Who is let in, and how often they may ask.

use ipnet::IpNet;

/// Who is let in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Authentication")]
pub struct AuthConfig {
    /// Who is let in: everybody, into the one namespace of --namespace, or who has a bearer token
    /// of the cluster and the right to inferencejobs in the namespace asked for.
    #[arg(long = "auth", env = "FOVEA_API_AUTH", value_enum, default_value_t = AuthMode::None)]
    pub mode: AuthMode,

    /// Audiences, of which a token must be for one. A token for the API server itself need not be
    /// shown to anybody else: make one by `kubectl create token --audience`.
    #[arg(
        long = "auth-audiences",
        env = "FOVEA_API_AUTH_AUDIENCES",
        value_delimiter = ',',
        default_value = "fovea"
    )]
    pub audiences: Vec<String>,

    /// Origins whose pages may call the API from a browser, such as `https://app.example.org`, or
    /// `*`; none where absent.
    #[arg(
        long,
        env = "FOVEA_API_CORS_ORIGINS",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub cors_origins: Vec<http::HeaderValue>,
}

/// How a request's user is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuthMode {
    /// Nobody is asked; one namespace is served.
    None,
    /// By `TokenReview`, and what the user may by `SubjectAccessReview`.
    Kubernetes,
}

/// How often one may ask. A limit of 0 is none; each allows a burst of twice its number.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Rate limits")]
pub struct RatesConfig {
    /// Submissions, cancels and deletes a second, by one user, or by one address where there are no
    /// users. The default is 100, and none without authentication.
    #[arg(long = "rate-limit-writes", env = "FOVEA_API_RATE_LIMIT_WRITES")]
    pub writes: Option<u32>,

    /// Reads a second, alike. The default is 500, and none without authentication.
    #[arg(long = "rate-limit-reads", env = "FOVEA_API_RATE_LIMIT_READS")]
    pub reads: Option<u32>,

    /// Tokens a second that one address may have looked up at the API server. A token is looked up
    /// once in ten seconds, however often it comes.
    #[arg(
        long = "rate-limit-token-reviews",
        env = "FOVEA_API_RATE_LIMIT_TOKEN_REVIEWS",
        default_value_t = 50
    )]
    pub token_reviews: u32,

    /// Networks of the proxies whose word about a client's address is taken; none where absent.
    #[arg(long, env = "FOVEA_API_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,

    /// The header that those proxies write. The other one is never read: it may be the client's own.
    #[arg(
        long,
        env = "FOVEA_API_FORWARDED_HEADER",
        value_enum,
        default_value_t = ForwardedHeader::XForwardedFor
    )]
    pub forwarded_header: ForwardedHeader,
}

/// Where proxies tell a client's address.
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
        // What a browser sends: no path, no final slash, the default port left out.
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
