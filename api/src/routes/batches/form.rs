//! The forms of a batch's submission, by Content-Type: JSON, a raw body or multipart.

use crate::auth::Tenant;
use crate::batch::StoredUpload;
use crate::error::{Problem, ProblemType};
use crate::routes::jobs::multipart::{self, Stop};
use crate::routes::jobs::{content_type, parse_json};
use crate::state::App;
use crate::upload::{Upload, UploadError};
use crate::validate::{BatchFields, BatchRequest, FieldError, ValidRequest, excerpt};
use axum::extract::multipart::MultipartError;
use fovea_crds::Input;
use futures::StreamExt as _;
use http::HeaderMap;
use http::request::Parts;
use std::pin::pin;

/// Largest body of JSON: it holds no pictures.
pub(super) const JSON_BYTES: usize = 256 * 1024;
/// Bytes of a multipart body beside its file.
const ENVELOPE_BYTES: usize = 64 * 1024;
const MAX_TEXT_BYTES: usize = 16 * 1024;
const FILE: &str = "file";
const KINDS: &str = "send application/json with `input`; or a manifest or an archive itself, as application/octet-stream, application/zip, application/x-tar, application/gzip, application/x-ndjson or text/csv; or multipart/form-data with a field `file`";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Raw,
    Multipart,
}

impl Kind {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match content_type(headers, KINDS)?.as_str() {
            "application/json" => Ok(Self::Json),
            "multipart/form-data" => Ok(Self::Multipart),
            "application/octet-stream"
            | "application/zip"
            | "application/x-zip-compressed"
            | "application/x-tar"
            | "application/gzip"
            | "application/x-gzip"
            | "application/x-ndjson"
            | "application/jsonl"
            | "text/csv" => Ok(Self::Raw),
            other => Err(Problem::new(
                ProblemType::UnsupportedMediaType,
                format!("a body of type {:?} is not read: {KINDS}", excerpt(other)),
            )),
        }
    }

    /// Maximum length of a body whose upload has at most `upload` bytes.
    pub(super) fn body_limit(self, upload: usize) -> usize {
        match self {
            Self::Json => JSON_BYTES,
            Self::Raw => upload,
            Self::Multipart => upload + ENVELOPE_BYTES,
        }
    }
}

/// A submission that has been read to its end.
pub(super) struct Read {
    pub(super) request: ValidRequest,
    pub(super) input: Input,
    pub(super) identity: Input,
}

/// Reads a body; what is uploaded lies in the bucket then.
pub(super) async fn read(
    app: &App,
    tenant: &Tenant,
    kind: Kind,
    parts: &Parts,
    upload: &Upload,
) -> Result<Read, Problem> {
    let namespace = &tenant.namespace;
    let query = parts.uri.query().unwrap_or_default();
    if kind != Kind::Raw
        && let Some((name, _)) = url::form_urlencoded::parse(query.as_bytes()).next()
    {
        return Err(FieldError::Unknown(
            excerpt(&name),
            "no query parameters beside a body of this type: put the fields into the body",
        )
        .into());
    }
    let (request, stored) = match kind {
        Kind::Json => {
            let body = upload.collect().await?;
            let fields = BatchFields::from(parse_json::<BatchRequest>(&body)?);
            let (request, input) = fields.validate(namespace)?;
            let identity = input.clone();
            return Ok(Read {
                request,
                input,
                identity,
            });
        }
        Kind::Raw => {
            // Before the body, so that a wrong field is refused before the archive is sent.
            let request = fields_of(query)?.validate_upload(namespace)?;
            let _permit = app.intake.admit_archive(tenant.parties).await?;
            let pieces = upload.stream().map(|piece| piece.map_err(Problem::from));
            (
                request,
                StoredUpload::put(app, namespace, pin!(pieces)).await?,
            )
        }
        Kind::Multipart => {
            let _permit = app.intake.admit_archive(tenant.parties).await?;
            form(app, namespace, parts, upload).await?
        }
    };
    Ok(Read {
        request,
        input: stored.input,
        identity: stored.identity,
    })
}

fn fields_of(query: &str) -> Result<BatchFields, Problem> {
    let mut fields = BatchFields::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
            let detail = "the query is not valid UTF-8 once percent-decoded";
            return Err(Problem::new(ProblemType::MalformedRequest, detail));
        }
        fields.set(&name, value.into_owned())?;
    }
    Ok(fields)
}

/// Reads a form, field by field, and stores its file. If it is refused, the file is deleted again.
async fn form(
    app: &App,
    namespace: &str,
    parts: &Parts,
    upload: &Upload,
) -> Result<(ValidRequest, StoredUpload), Problem> {
    let mut stored = None;
    let read = fields(app, namespace, parts, upload, &mut stored).await;
    let request = read.and_then(|fields| Ok(fields.validate_upload(namespace)?));
    match (request, stored) {
        (Ok(request), Some(stored)) => Ok((request, stored)),
        (Ok(_), None) => {
            let detail =
                format!("the form has no field `{FILE}`: put the manifest or the archive there");
            Err(Problem::new(ProblemType::MissingPicture, detail))
        }
        (Err(problem), stored) => {
            if let Some(StoredUpload { input, .. }) = stored {
                crate::batch::discard(app, namespace, &input).await;
            }
            Err(problem)
        }
    }
}

async fn fields(
    app: &App,
    namespace: &str,
    parts: &Parts,
    upload: &Upload,
    stored: &mut Option<StoredUpload>,
) -> Result<BatchFields, Problem> {
    let broken = |error: MultipartError| match upload.fault() {
        Some(fault) => Problem::from(fault),
        None => Problem::new(ProblemType::MalformedRequest, error.body_text()),
    };
    let mut form = multipart::open(parts, upload).await?;
    let mut fields = BatchFields::default();
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        let Some(name) = field.name().map(str::to_owned) else {
            let detail = "a part of the form has no name, or one that is not UTF-8";
            return Err(Problem::new(ProblemType::MalformedRequest, detail));
        };
        if name == FILE {
            if stored.is_some() {
                return Err(FieldError::Duplicate(name).into());
            }
            let limit = app.intake.max_archive_bytes;
            let mut length = 0;
            let pieces = field.map(|piece| {
                let piece = piece.map_err(broken)?;
                length += piece.len();
                if length > limit {
                    return Err(UploadError::TooLarge { limit }.into());
                }
                Ok(piece)
            });
            *stored = Some(StoredUpload::put(app, namespace, pin!(pieces)).await?);
            continue;
        }
        BatchFields::check(&name)?;
        let bytes = multipart::collect(&mut field, MAX_TEXT_BYTES).await;
        let bytes = bytes.map_err(|stop| match stop {
            Stop::TooLong => Problem::new(
                ProblemType::InvalidField,
                format!("a text field has more than {MAX_TEXT_BYTES} bytes; the upload belongs into the field `{FILE}`"),
            ),
            Stop::Broken(error) => broken(error),
        })?;
        let text = String::from_utf8(bytes.into()).map_err(|_| {
            let detail = "a text field is not valid UTF-8";
            Problem::new(ProblemType::MalformedRequest, detail)
        })?;
        fields.set(&name, text)?;
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;

    #[test]
    fn the_content_type_selects_the_form() {
        let kind = |content_type: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            Kind::of(&headers).ok()
        };
        assert_eq!(kind("application/json"), Some(Kind::Json));
        assert_eq!(
            kind("multipart/form-data; boundary=x"),
            Some(Kind::Multipart)
        );
        for raw in [
            "application/zip",
            "Text/CSV; charset=utf-8",
            "application/octet-stream",
        ] {
            assert_eq!(kind(raw), Some(Kind::Raw), "{raw}");
        }
        for unread in ["", "image/png", "application/x-www-form-urlencoded"] {
            assert_eq!(kind(unread), None, "{unread}");
        }
    }
}
