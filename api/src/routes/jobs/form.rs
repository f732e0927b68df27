//! The three forms of a submission, by Content-Type: a raw body, multipart or JSON.

use super::{json, multipart};
use crate::error::{Problem, ProblemType};
use crate::submit::Payload;
use crate::upload::Upload;
use crate::validate::{FieldError, JobRequest, ValidRequest, excerpt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;

/// Bytes of a body beside its picture: part headers, text fields, JSON's other members.
const ENVELOPE_BYTES: usize = 64 * 1024;
const KINDS: &str = "send the picture itself as image/* or application/octet-stream, or multipart/form-data with a field `file`, or application/json with `data` or `key`";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Raw,
    Multipart,
    Json,
}

impl Kind {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match content_type(headers, KINDS)?.as_str() {
            "multipart/form-data" => Ok(Self::Multipart),
            "application/json" => Ok(Self::Json),
            "application/octet-stream" => Ok(Self::Raw),
            image if image.starts_with("image/") => Ok(Self::Raw),
            other => Err(Problem::new(
                ProblemType::UnsupportedMediaType,
                format!("a body of type {:?} is not read: {KINDS}", excerpt(other)),
            )),
        }
    }

    /// Maximum length of a body whose picture has at most `picture` bytes.
    pub(super) fn body_limit(self, picture: usize) -> usize {
        match self {
            Self::Raw => picture,
            Self::Multipart => picture + ENVELOPE_BYTES,
            Self::Json => picture.div_ceil(3) * 4 + ENVELOPE_BYTES,
        }
    }
}

/// The type of a body without its parameters, in lower case. `kinds` says what to send.
pub(crate) fn content_type(headers: &HeaderMap, kinds: &str) -> Result<String, Problem> {
    let unsupported = |what: String| {
        Problem::new(
            ProblemType::UnsupportedMediaType,
            format!("{what}: {kinds}"),
        )
    };
    if let Some(encoding) = headers
        .get(CONTENT_ENCODING)
        .filter(|encoding| *encoding != "identity")
    {
        return Err(unsupported(format!(
            "Content-Encoding {encoding:?} is not undone"
        )));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Err(unsupported("there is no Content-Type".to_owned()));
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default();
    Ok(essence.trim().to_ascii_lowercase())
}

/// Reads a body, and validates everything but the picture.
pub(super) async fn read(
    kind: Kind,
    parts: &Parts,
    upload: &Upload,
    namespace: &str,
    max_upload_bytes: usize,
) -> Result<(ValidRequest, Payload), Problem> {
    let query = parts.uri.query().unwrap_or_default();
    if kind == Kind::Raw {
        // Before the body, so that a wrong field is refused before the picture is sent.
        let request = read_query(query)?.validate()?;
        return Ok((request, Payload::Picture(upload.collect().await?)));
    }
    if let Some((name, _)) = url::form_urlencoded::parse(query.as_bytes()).next() {
        let name = name.chars().take(80).collect();
        return Err(FieldError::Unknown(
            name,
            "no query parameters beside a body of this type: put the fields into the body",
        )
        .into());
    }
    match kind {
        Kind::Multipart => multipart::read(parts, upload, max_upload_bytes).await,
        Kind::Raw | Kind::Json => json::read(upload, namespace, max_upload_bytes).await,
    }
}

fn read_query(query: &str) -> Result<JobRequest<'static>, Problem> {
    let mut request = JobRequest::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
            let detail = "the query is not valid UTF-8 once percent-decoded";
            return Err(Problem::new(ProblemType::MalformedRequest, detail));
        }
        request.set(&name, value.into_owned())?;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn kind(content_type: &'static str) -> Option<Kind> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Kind::of(&headers).ok()
    }

    #[test]
    fn the_content_type_selects_the_form() {
        for raw in [
            "image/png",
            "IMAGE/JPEG",
            "image/svg+xml",
            "application/octet-stream",
        ] {
            assert_eq!(kind(raw), Some(Kind::Raw), "{raw}");
        }
        assert_eq!(
            kind("multipart/form-data; boundary=x"),
            Some(Kind::Multipart)
        );
        assert_eq!(kind("application/json; charset=utf-8"), Some(Kind::Json));
        for unread in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/mixed",
            "application/jsonp",
            "video/mp4",
        ] {
            assert_eq!(kind(unread), None, "{unread}");
        }
        assert!(Kind::of(&HeaderMap::new()).is_err());
    }

    #[test]
    fn base64_of_the_largest_picture_fits_a_json_body() {
        for picture in [0, 1, 2, 3, 10 * 1024 * 1024] {
            let encoded = base64::encoded_len(picture, true).unwrap();
            assert!(Kind::Json.body_limit(picture) >= encoded + ENVELOPE_BYTES);
        }
    }

    #[test]
    fn a_query_is_read_as_strictly_as_a_form() {
        assert!(read_query("task=image-to-text&maxNewTokens=5&prompt=a%20red+one").is_ok());
        for wrong in [
            "colour=red",
            "task=a&task=a",
            "prompt=%ff",
            "%ff=a",
            "topK=x",
        ] {
            assert!(read_query(wrong).is_err(), "{wrong}");
        }
    }
}
