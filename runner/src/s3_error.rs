//! What an object store says in an answer that is an error: S3's `<Code>` and `<Message>`.

use reqwest::Response;
use std::fmt;
use std::time::Duration;

/// Longest part of a server's message to quote, in characters.
const MAX_QUOTED_CHARS: usize = 200;

/// Longest error body that is read, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Bound on reading it.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// A message with one of these quotes the request, whose signature is a secret.
const SECRETS: [&str; 3] = ["signature=", "credential=", "security-token="];

/// S3's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct S3Error {
    code: String,
    message: Option<String>,
}

impl S3Error {
    /// `None` where the body is not S3's.
    pub(crate) fn parse(body: &str) -> Option<Self> {
        Some(Self {
            code: element(body, "Code").filter(|code| !code.is_empty())?,
            message: element(body, "Message").filter(|message| is_quotable(message)),
        })
    }

    /// Reads a response that is an error.
    pub(crate) async fn read(response: Response) -> Option<Self> {
        Self::parse(&error_body(response).await?)
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// What to check; the URL was signed by the operator.
    fn advice(&self) -> Option<&'static str> {
        let message = self.message.as_deref().unwrap_or_default();
        let of_time = ["expired", "not valid yet", "not yet valid"];
        Some(match &*self.code {
            "RequestTimeTooSkewed" => "check the clocks of the API server and the store",
            "AccessDenied" if of_time.iter().any(|words| message.contains(words)) => {
                "check the clocks of the API server and the store; the URL is signed for a few minutes"
            }
            "AccessDenied" => "check the policy of the operator's key",
            "InvalidAccessKeyId" => "check the operator's access key",
            "SignatureDoesNotMatch" => {
                "check the operator's secret key, and that nothing between runner and store changes Host or path"
            }
            "ExpiredToken" | "InvalidToken" => "renew the operator's temporary credentials",
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "AuthorizationQueryParametersError" => {
                "check objectStore.region and objectStore.endpoint"
            }
            "NoSuchBucket" => "check objectStore.bucket and objectStore.pathStyle",
            _ => return None,
        })
    }

    /// The error and what to check.
    pub(crate) fn with_advice(&self) -> String {
        match self.advice() {
            None => self.to_string(),
            Some(advice) => format!("{self}; {advice}"),
        }
    }
}

/// `AccessDenied: Request has expired`
impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, message } = self;
        match message {
            None => f.write_str(code),
            Some(message) => write!(f, "{code}: {message}"),
        }
    }
}

fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    Some(excerpt(rest.split_once("</")?.0).trim().to_owned())
}

fn is_quotable(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    !message.is_empty() && !SECRETS.iter().any(|secret| lower.contains(secret))
}

/// The part of a server's message to quote.
pub(crate) fn excerpt(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(MAX_QUOTED_CHARS).collect()
}

/// An error's body, if it is a short text that arrives soon.
pub(crate) async fn error_body(mut response: Response) -> Option<String> {
    let reading = async {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BODY_BYTES {
                return None;
            }
        }
        String::from_utf8(body).ok()
    };
    tokio::time::timeout(READ_WITHIN, reading).await.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(code: &str, message: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message><Resource>/a</Resource></Error>"
        )
    }

    #[test]
    fn errors_that_are_all_403_say_different_things() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, message, part) in [
            ("AccessDenied", "Request has expired", "check the clocks"),
            (
                "AccessDenied",
                "Request is not valid yet",
                "check the clocks",
            ),
            ("AccessDenied", "Access Denied.", "policy of the operator"),
            ("RequestTimeTooSkewed", "The difference", "check the clocks"),
            ("SignatureDoesNotMatch", "The request", "Host or path"),
            ("InvalidAccessKeyId", "The Access Key", "access key"),
            ("ExpiredToken", "The token", "temporary credentials"),
        ] {
            let error = S3Error::parse(&body(code, message)).unwrap();
            let text = error.with_advice();
            assert!(text.starts_with(&format!("{code}: {message}")), "{text}");
            assert!(text.contains(part), "{text}");
            assert!(seen.insert(text));
        }
    }

    #[test]
    fn a_page_is_no_error_of_s3_and_a_signature_is_not_quoted() {
        assert_eq!(S3Error::parse("<html>Forbidden</html>"), None);
        assert_eq!(S3Error::parse(""), None);
        let quoted = S3Error::parse(&body("X", "GET /a?X-Amz-Signature=abc")).unwrap();
        assert_eq!(quoted.to_string(), "X");
        let long = S3Error::parse(&body("X", &"a".repeat(10_000))).unwrap();
        assert!(long.to_string().len() < 300);
    }
}
