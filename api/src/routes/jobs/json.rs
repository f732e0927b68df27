//! A submission as a JSON object: the picture as base64 or a data URI, or the key of an object in the
//! bucket.

use crate::error::{Problem, ProblemType};
use crate::submit::Payload;
use crate::upload::{Upload, UploadError};
use crate::validate::{JobRequest, ValidRequest, excerpt, object_key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

/// Most characters of a wrong value that are repeated to the client.
const MAX_FOUND_LENGTH: usize = 100;

/// Reads the body and decodes the picture, whose memory is charged, too.
pub(super) async fn read(
    upload: &Upload,
    namespace: &str,
    max_upload_bytes: usize,
) -> Result<(ValidRequest, Payload), Problem> {
    let body = upload.collect().await?;
    let mut request: JobRequest<'_> = parse(&body)?;
    if request.url.is_some() {
        let detail = "`url`: a picture is not fetched from another server, which could be one that only the cluster reaches: send its bytes as `data`";
        return Err(Problem::new(ProblemType::RemoteUrl, detail));
    }
    let (data, key) = (request.data.take(), request.key.take());
    let request = request.validate()?;
    let payload = match (data, key) {
        (Some(data), None) => {
            upload.charge(data.0.len() / 4 * 3)?;
            let bytes = decode(&data.0)?;
            if bytes.len() > max_upload_bytes {
                return Err(UploadError::TooLarge {
                    limit: max_upload_bytes,
                }
                .into());
            }
            Payload::Picture(bytes)
        }
        (None, Some(key)) => {
            object_key(namespace, &key)?;
            Payload::Object { key }
        }
        (None, None) => {
            let detail = "give the picture as `data` (base64 or a data URI), or as `key`, an object below data/<namespace>/ in the bucket";
            return Err(Problem::new(ProblemType::MissingPicture, detail));
        }
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                ProblemType::InvalidField,
                "`data` and `key` exclude each other: give one",
            ));
        }
    };
    Ok((request, payload))
}

/// Parses a body; an error names the member.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let job = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let (kind, detail) = described(&error.into_inner());
        let place = if path == "." {
            String::new()
        } else {
            format!("{path}: ")
        };
        Problem::new(kind, format!("{place}{detail}"))
    })?;
    reader
        .end()
        .map_err(|error| Problem::new(ProblemType::MalformedRequest, error.to_string()))?;
    Ok(job)
}

/// What the parser says, in the words of the other problems.
fn described(error: &serde_json::Error) -> (ProblemType, String) {
    let text = error.to_string();
    if !error.is_data() {
        return (ProblemType::MalformedRequest, text);
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    if let Some((name, known)) = named(text, "unknown field ") {
        let known = known.trim_start_matches(", expected ");
        let known = known.trim_start_matches("one of ").replace('`', "");
        let known = known.replace(" or ", ", ");
        let detail = format!("{name:?} is not a field of this request: it has {known}");
        return (ProblemType::UnknownField, detail);
    }
    if let Some((name, _)) = named(text, "duplicate field ") {
        let detail = format!("{name:?} is given more than once: send it once");
        return (ProblemType::DuplicateField, detail);
    }
    if let Some((name, _)) = named(text, "missing field ") {
        return (ProblemType::InvalidField, format!("{name:?} is missing"));
    }
    let wrong = text.strip_prefix("invalid type: ");
    let wrong = wrong.or_else(|| text.strip_prefix("invalid value: "));
    let detail = match wrong.and_then(|wrong| wrong.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let expected = match expected {
                "i64" | "u32" | "u64" | "i32" => "a whole number",
                "a sequence" => "a list",
                other => other,
            };
            let found: String = found.chars().take(MAX_FOUND_LENGTH).collect();
            format!("it must be {expected}, and is {found}")
        }
        None => text.to_owned(),
    };
    (ProblemType::InvalidField, detail)
}

/// The name that a message begins with after `what`, cut to an excerpt, and the rest.
fn named<'a>(text: &'a str, what: &str) -> Option<(String, &'a str)> {
    let (name, rest) = text
        .strip_prefix(what)?
        .strip_prefix('`')?
        .split_once('`')?;
    Some((excerpt(name), rest))
}

fn decode(data: &str) -> Result<Bytes, Problem> {
    let invalid = |why: String| Problem::new(ProblemType::InvalidField, format!("data: {why}"));
    let encoded = match data.strip_prefix("data:") {
        None => data,
        Some(uri) => uri
            .split_once(',')
            .filter(|(head, _)| head.to_ascii_lowercase().ends_with(";base64"))
            .map(|(_, encoded)| encoded)
            .ok_or_else(|| invalid("a data URI must be data:<type>;base64,<base64>".to_owned()))?,
    };
    STANDARD
        .decode(encoded)
        .map(Bytes::from)
        .map_err(|error| invalid(format!("not standard base64 on one line: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_member_is_named_in_plain_words() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, expecting = "an object")]
        #[allow(dead_code, reason = "only parsed")]
        struct Outer {
            inner: Option<Inner>,
        }
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields, expecting = "an object such as {\"name\": \"a\"}")]
        #[allow(dead_code, reason = "only parsed")]
        struct Inner {
            name: String,
            number: Option<i64>,
            list: Option<Vec<String>>,
        }
        for (body, kind, detail) in [
            (
                r#"{"inner": {"name": "a", "size": 1}}"#,
                ProblemType::UnknownField,
                r#"inner.size: "size" is not a field of this request: it has name, number, list"#,
            ),
            (
                r#"{"outer": 1}"#,
                ProblemType::UnknownField,
                r#"outer: "outer" is not a field of this request: it has inner"#,
            ),
            (
                r#"{"inner": {"name": "a", "name": "b"}}"#,
                ProblemType::DuplicateField,
                r#"inner: "name" is given more than once: send it once"#,
            ),
            (
                r#"{"inner": {}}"#,
                ProblemType::InvalidField,
                r#"inner: "name" is missing"#,
            ),
            (
                r#"{"inner": "x"}"#,
                ProblemType::InvalidField,
                r#"inner: it must be an object such as {"name": "a"}, and is string "x""#,
            ),
            (
                r#"{"inner": {"name": "a", "number": "7"}}"#,
                ProblemType::InvalidField,
                r#"inner.number: it must be a whole number, and is string "7""#,
            ),
            (
                r#"{"inner": {"name": "a", "list": "b"}}"#,
                ProblemType::InvalidField,
                r#"inner.list: it must be a list, and is string "b""#,
            ),
        ] {
            let problem = parse::<Outer>(&Bytes::from_static(body.as_bytes())).unwrap_err();
            assert_eq!(
                (problem.kind, problem.detail.as_str()),
                (kind, detail),
                "{body}"
            );
        }
        let problem = parse::<Outer>(&Bytes::from_static(b"{\"inner\"")).unwrap_err();
        assert_eq!(problem.kind, ProblemType::MalformedRequest);
    }

    #[test]
    fn base64_comes_bare_or_as_a_data_uri() {
        for good in [
            "aGVsbG8=",
            "data:image/png;base64,aGVsbG8=",
            "data:;base64,aGVsbG8=",
            "data:image/png;x=y;BASE64,aGVsbG8=",
        ] {
            assert_eq!(decode(good).unwrap(), "hello", "{good}");
        }
        for wrong in [
            "aGVsbG8",
            "aGVs\nbG8=",
            "aGVsbG8_",
            "data:image/png,aGVsbG8=",
            "data:image/png;base64",
            "data:",
        ] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
        assert_eq!(decode("").unwrap(), "");
    }

    #[test]
    fn a_wrong_member_is_named_with_its_place() {
        for (body, kind, named) in [
            (&b"{"[..], ProblemType::MalformedRequest, "EOF"),
            (b"", ProblemType::MalformedRequest, "EOF"),
            (b"{} {}", ProblemType::MalformedRequest, "trailing"),
            (
                b"{\"task\":\"\xff\"}",
                ProblemType::MalformedRequest,
                "unicode",
            ),
            (b"[]", ProblemType::InvalidField, ""),
            (b"{\"colour\":1}", ProblemType::UnknownField, "colour"),
            (
                b"{\"task\":\"a\",\"task\":\"b\"}",
                ProblemType::DuplicateField,
                "task",
            ),
            (b"{\"task\":1}", ProblemType::InvalidField, "task"),
            (
                b"{\"parameters\":{\"maxNewTokens\":1.5}}",
                ProblemType::InvalidField,
                "parameters.maxNewTokens",
            ),
            (
                b"{\"parameters\":{\"numberOfBeams\":1}}",
                ProblemType::UnknownField,
                "numberOfBeams",
            ),
        ] {
            let problem = parse::<JobRequest<'_>>(&Bytes::from_static(body))
                .err()
                .unwrap();
            assert_eq!(problem.kind, kind, "{problem:?}");
            assert!(problem.detail.contains(named), "{problem:?}");
        }
    }

    #[test]
    fn escaped_slashes_are_as_good_as_plain_ones() {
        let body = Bytes::from_static(br#"{"data":"\/9j\/"}"#);
        let job: JobRequest<'_> = parse(&body).ok().unwrap();
        assert_eq!(job.data.unwrap().0, "/9j/");
    }
}
