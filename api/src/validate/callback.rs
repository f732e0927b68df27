//! The rule for callback URLs.

use super::error::{FieldError, invalid};
use fovea_crds::bounds::MAX_URL_LENGTH;
use url::Url;

/// As strict as the schema's rule; also, `Url` must parse it.
pub(super) fn callback_url(text: String) -> Result<String, FieldError> {
    let refuse = |why: &str| invalid("callbackUrl", why.to_owned());
    if text.len() > MAX_URL_LENGTH as usize {
        return refuse("at most 2048 characters");
    }
    let Some(rest) = text.strip_prefix("https://") else {
        return refuse("an https URL: it begins with https://");
    };
    if !text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\"#\\".contains(&b))
    {
        return refuse(
            "printable ASCII without space, quote, backslash or fragment: percent-encode what is not",
        );
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return refuse("no user name and no password: they would be stored and shown with the job");
    }
    let in_host = |b: u8| b.is_ascii_alphanumeric() || b"._:[]-".contains(&b);
    match Url::parse(&text) {
        Ok(url) if url.has_host() && !authority.is_empty() && authority.bytes().all(in_host) => {
            Ok(text)
        }
        Ok(_) => refuse("its host is none: use punycode for letters beyond ASCII"),
        Err(error) => refuse(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_an_https_url_without_credentials() {
        for good in [
            "https://example.com",
            "https://a-b.example.com:8443/hook/@me?x=1&y=%20",
            "https://[2001:db8::1]:443/",
            "https://example.com?x",
        ] {
            assert_eq!(callback_url(good.to_owned()).as_deref(), Ok(good));
        }
        for wrong in [
            "",
            "example.com",
            "http://example.com",
            "HTTPS://example.com",
            "https://",
            "https:///a",
            "https://me@example.com",
            "https://me:secret@example.com/",
            "https://a\\@example.com/",
            "https://example.com/#a",
            "https://example.com/a b",
            "https://example.com/ä",
            "https://exa%6dple.com/",
            "https://[::1",
            "https://example.com:99999/",
            &format!("https://a/{}", "b".repeat(2039)),
        ] {
            assert!(callback_url(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
