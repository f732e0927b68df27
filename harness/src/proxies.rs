//! A developer's proxies.

/// The variables that name proxies. Programs that the harness starts do not inherit them: what runs here is on
/// this machine, where a developer's proxy does not lead.
pub const PROXY_VARIABLES: [&str; 8] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];
