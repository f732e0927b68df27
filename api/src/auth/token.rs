//! The bearer token of a request (RFC 6750), from its header only: URLs are logged.

use http::HeaderMap;
use http::header::AUTHORIZATION;

const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The token, or why there is none.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, &'static str> {
    const MISSING: &str = "send a token: `Authorization: Bearer <token>`";
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(MISSING)?;
    if values.next().is_some() {
        return Err("the header Authorization came twice");
    }
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or(MISSING)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(MISSING);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=:".contains(&b);
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(allowed) {
        return Err("the token is none that could be valid");
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(value: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        bearer(&headers).ok().map(str::to_owned)
    }

    #[test]
    fn a_token_is_what_follows_bearer() {
        assert_eq!(of(b"Bearer a.b-c_d=").as_deref(), Some("a.b-c_d="));
        assert_eq!(of(b"bearer  a").as_deref(), Some("a"));
        for wrong in [
            &b"Bearer"[..],
            b"Bearer ",
            b"Basic YTpi",
            b"a",
            b"Bearer a b",
            b"Bearer \xff",
            b"Bearer a,b",
            &[b"Bearer ".to_vec(), vec![b'a'; MAX_TOKEN_BYTES + 1]].concat(),
        ] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn no_token_and_two_tokens_are_refused() {
        let mut headers = HeaderMap::new();
        assert!(bearer(&headers).is_err());
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert!(bearer(&headers).is_err());
    }
}
