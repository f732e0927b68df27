//! Tells answers that are not S3's, such as a web page's login, and answers that were cut short, from S3's.
//!
//! An S3 answers with XML, with nothing, or with an object. By the body, not by its type: some stores call
//! their XML `text/html`.

use crate::StoreError;
use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use std::borrow::Cow;

/// Maximum length of what a message has of an answer, in characters.
const MAX_EXCERPT: usize = 100;

/// An answer, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub status: u16,
    /// S3's error code.
    pub code: Option<&'a str>,
    pub content_type: Option<&'a str>,
    /// Where it redirects to.
    pub location: Option<&'a str>,
    /// `None` if it could not be read.
    pub body: Option<&'a [u8]>,
}

impl Answer<'_> {
    /// The error that a failed request with this answer ends with, if it is no S3's, or not a whole one.
    pub(crate) fn error(&self) -> Option<StoreError> {
        if self.code.is_some() {
            return None;
        }
        let body = self.body?;
        let is_success = (200..300).contains(&self.status);
        let is_redirect = (300..400).contains(&self.status);
        // A proxy that has no store to ask answers 5xx with a page, too.
        let is_page = is_page(body) && self.status < 500;
        if is_page || (is_success && !body.trim_ascii_start().starts_with(b"<")) {
            return Some(StoreError::NotS3(self.describe()));
        }
        if is_success && !is_whole(body) {
            let bytes = body.len();
            let cut = format!("an answer of {bytes} bytes breaks off");
            return Some(StoreError::Unavailable(cut));
        }
        (is_redirect && self.location.is_some()).then(|| StoreError::NotS3(self.describe()))
    }

    /// What came, in a few words.
    fn describe(&self) -> String {
        let Self {
            status,
            content_type,
            ..
        } = self;
        if let Some(location) = self.location {
            // What follows may be secret.
            let place = location.split(['?', '#']).next().unwrap_or_default();
            return format!("{status}, a redirection to {}", excerpt(place.as_bytes()));
        }
        let kind = content_type.unwrap_or("no Content-Type");
        let body = self.body.unwrap_or_default();
        if body.is_empty() {
            return format!("{status}, {kind}, without a body");
        }
        let words = excerpt(body);
        format!(
            "{status}, {}, beginning {words:?}",
            excerpt(kind.as_bytes())
        )
    }
}

/// The error of a GET that was answered with success, by such a body in place of an object.
pub(crate) fn not_s3(content_type: &str, body: &[u8]) -> StoreError {
    let answer = Answer {
        status: 200,
        code: None,
        content_type: Some(content_type),
        location: None,
        body: Some(body),
    };
    StoreError::NotS3(answer.describe())
}

/// Whether a body is a web page.
pub(crate) fn is_page(body: &[u8]) -> bool {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let body = body.trim_ascii_start();
    ["<!doctype html", "<html"].iter().any(|begin| {
        body.get(..begin.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(begin.as_bytes()))
    })
}

/// Whether an XML document ends with its root's end. One that breaks off between two elements reads like a
/// shorter list.
fn is_whole(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let mut rest = text.trim_matches('\u{feff}').trim();
    // Declarations and comments.
    while rest.starts_with("<?") || rest.starts_with("<!") {
        let Some((_, after)) = rest.split_once('>') else {
            return false;
        };
        rest = after.trim_start();
    }
    let name = |text: &str| -> String {
        let ends = |c: char| c.is_whitespace() || matches!(c, '>' | '/');
        text.split(ends).next().unwrap_or_default().to_owned()
    };
    let Some(root) = rest.strip_prefix('<').map(name) else {
        return false;
    };
    let Some((_, end)) = rest.rsplit_once('<') else {
        return false;
    };
    let is_empty_root = rest.ends_with("/>") && rest.matches('<').count() == 1;
    let is_end = end.strip_prefix('/').map(name) == Some(root);
    is_empty_root || (is_end && end.ends_with('>'))
}

/// The begin of a text on one line.
fn excerpt(text: &[u8]) -> String {
    let text: Cow<'_, str> = String::from_utf8_lossy(text.get(..4 * MAX_EXCERPT).unwrap_or(text));
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let printable = line.chars().filter(|c| !c.is_control());
    printable.take(MAX_EXCERPT).collect()
}

/// Fails a request that was answered with success by a web page, or by XML that breaks off: the SDK reads most
/// successes without looking at the body.
#[derive(Debug)]
pub(crate) struct OnlyS3;

/// The error is made anew from the answer, by [`Answer::error`].
#[derive(Debug, thiserror::Error)]
#[error("the answer is no S3's, or not a whole one")]
struct Refused;

impl Intercept for OnlyS3 {
    fn name(&self) -> &'static str {
        "OnlyS3"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let is_success = answer.status().is_success();
        // `None` for an object, which is read later.
        let body = answer.body().bytes().unwrap_or_default();
        let is_xml = body.trim_ascii_start().starts_with(b"<");
        if is_success && (is_page(body) || (is_xml && !is_whole(body))) {
            return Err(Refused.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &[u8] = b"\n<!DOCTYPE html>\n<html><head>\n<title>Sign in</title>";

    fn answer(status: u16, body: &[u8]) -> Answer<'_> {
        Answer {
            status,
            code: None,
            content_type: Some("text/html; charset=utf-8"),
            location: None,
            body: Some(body),
        }
    }

    fn text(answer: Answer<'_>) -> String {
        answer
            .error()
            .map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn a_web_page_is_named_with_its_status_its_type_and_its_first_words() {
        for status in [200, 401, 403, 404] {
            let text = text(answer(status, LOGIN));
            for part in [
                format!("{status}, text/html; charset=utf-8").as_str(),
                "<!DOCTYPE html> <html><head> <title>Sign in",
                "--s3-endpoint",
            ] {
                assert!(text.contains(part), "{text}");
            }
        }
        assert!(text(answer(200, b"")).contains("without a body"));
        assert!(text(answer(200, b"{\"ok\": true}")).contains("is no S3"));
        let long = [LOGIN, &[b'x'; 10_000]].concat();
        assert!(text(answer(200, &long)).len() < 500);
    }

    #[test]
    fn a_redirection_to_a_login_is_named_without_its_query() {
        let location = "https://login.test/oauth?state=secret";
        let redirect = Answer {
            location: Some(location),
            ..answer(302, b"")
        };
        let text = text(redirect);
        assert!(text.contains("302, a redirection to https://login.test/oauth"));
        assert!(!text.contains("secret"), "{text}");
        // S3's own, to another region.
        let moved = Answer {
            code: Some("PermanentRedirect"),
            ..redirect
        };
        assert!(moved.error().is_none());
    }

    #[test]
    fn an_answer_of_s3_is_none_of_these() {
        for (status, body) in [
            (404, &b""[..]),
            (403, b"<Error><Code>AccessDenied</Code></Error>"),
            (503, b"<html><body>503 Service Temporarily Unavailable"),
            (500, b"oops"),
        ] {
            assert!(answer(status, body).error().is_none(), "{status}");
        }
        let unread = Answer {
            body: None,
            ..answer(200, b"")
        };
        assert!(unread.error().is_none());
    }

    #[test]
    fn xml_that_breaks_off_is_not_whole_wherever_it_does() {
        let whole = "<?xml version=\"1.0\"?>\n<!-- x -->\n<ListBucketResult xmlns=\"s3\"><Contents><Key>a</Key></Contents><Name/></ListBucketResult>\n";
        let end = whole.trim_end().len();
        for length in 1..end {
            let cut = &whole.as_bytes()[..length];
            assert!(!is_whole(cut), "{:?}", &whole[..length]);
        }
        for body in [whole, &whole[..end], "<a/>", "\u{feff}<a b=\"c\"></a>"] {
            assert!(is_whole(body.as_bytes()), "{body:?}");
        }
        let cut = text(answer(200, &whole.as_bytes()[..end - 20]));
        assert!(cut.contains("breaks off"), "{cut}");
    }
}
