//! What an answer that is an error says: S3's code and message, and where the bucket is.

use aws_sdk_s3::config::http::HttpResponse;
use std::fmt;

/// Longest message that is quoted, in characters.
const MAX_MESSAGE_CHARS: usize = 200;

/// Longest name of a region, in characters.
const MAX_REGION_CHARS: usize = 64;

/// AWS names the bucket's region in this header, of answers to HEAD also.
pub(crate) const REGION_HEADER: &str = "x-amz-bucket-region";

/// A message with one of these quotes the request, whose signature is a secret.
const SECRETS: [&str; 3] = ["signature=", "credential=", "security-token="];

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// S3's error code; none where the answer has no body, or another one's.
    pub(crate) code: Option<String>,
    message: Option<String>,
    /// The region that the request should have been sent to and signed for.
    pub(crate) region: Option<String>,
    /// Origin and path of the URL that a redirect names.
    pub(crate) location: Option<String>,
}

impl Refusal {
    pub(crate) fn of(response: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Self {
        let header = |name| response.headers().get(name);
        let body = response.body().bytes().unwrap_or_default();
        let body = std::str::from_utf8(body).unwrap_or_default();
        let region = header(REGION_HEADER).or_else(|| element(body, "Region"));
        Self {
            status: response.status().as_u16(),
            code: code.map(excerpt).filter(|code| !code.is_empty()),
            message: message.map(excerpt).filter(|text| is_quotable(text)),
            region: region.filter(|name| is_region(name)).map(str::to_owned),
            location: header("location").and_then(without_query),
        }
    }
}

/// `AccessDenied: Access Denied.`, or the status where the answer has no code.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            None => write!(f, "{}", self.status),
            Some(code) => f.write_str(code),
        }?;
        match &self.message {
            None => Ok(()),
            Some(message) => write!(f, ": {message}"),
        }
    }
}

/// The text of the first element of this name.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

fn excerpt(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let clipped: String = printable.take(MAX_MESSAGE_CHARS).collect();
    clipped.trim().to_owned()
}

fn is_quotable(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    !text.is_empty() && !SECRETS.iter().any(|secret| lower.contains(secret))
}

fn is_region(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= MAX_REGION_CHARS && name.chars().all(allowed)
}

fn without_query(location: &str) -> Option<String> {
    let url = url::Url::parse(location).ok()?;
    Some(excerpt(&url[..url::Position::AfterPath])).filter(|_| url.username().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::config::http::HttpResponse;
    use aws_sdk_s3::primitives::SdkBody;

    fn refusal(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Refusal {
        let status = status.try_into().unwrap();
        let mut response = HttpResponse::new(status, SdkBody::from(body));
        for (name, value) in headers {
            response.headers_mut().insert(*name, *value);
        }
        let (code, message) = (element(body, "Code"), element(body, "Message"));
        Refusal::of(&response, code, message)
    }

    #[test]
    fn the_region_is_read_from_the_header_or_the_body() {
        let malformed = refusal(
            400,
            &[],
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting 'eu-north-1'</Message><Region>eu-north-1</Region></Error>",
        );
        assert_eq!(malformed.region.as_deref(), Some("eu-north-1"));
        assert_eq!(
            malformed.to_string(),
            "AuthorizationHeaderMalformed: expecting 'eu-north-1'"
        );
        let head = refusal(301, &[(REGION_HEADER, "eu-west-1")], "");
        assert_eq!(head.region.as_deref(), Some("eu-west-1"));
        assert_eq!(head.to_string(), "301");
        let lie = refusal(400, &[], "<Region>a b<i></Region>");
        assert_eq!(lie.region, None);
    }

    #[test]
    fn a_message_is_clipped_and_quotes_no_signature() {
        let body = format!(
            "<Code>AccessDenied</Code><Message>{}</Message>",
            "no ".repeat(1000)
        );
        assert!(refusal(403, &[], &body).to_string().len() < 250);
        let quoted = "<Code>AccessDenied</Code><Message>GET /a?X-Amz-Signature=abc</Message>";
        assert_eq!(refusal(403, &[], quoted).to_string(), "AccessDenied");
    }

    #[test]
    fn a_redirect_s_target_is_named_without_its_query() {
        let target = [("location", "https://login.test/sign-in?token=secret")];
        let redirect = refusal(302, &target, "<html>");
        let location = redirect.location.as_deref();
        assert_eq!(location, Some("https://login.test/sign-in"));
    }
}
