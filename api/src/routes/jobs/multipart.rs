//! A submission as a multipart form: the picture in the field `file`, the rest in text fields.

use crate::error::{Problem, ProblemType};
use crate::submit::Payload;
use crate::upload::{Upload, UploadError};
use crate::validate::{FieldError, JobRequest, ValidRequest};
use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart};
use bytes::BytesMut;
use http::Request;
use http::request::Parts;

const FILE: &str = "file";
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Reads the form, part by part. Every field may come once, so their number is bounded.
pub(super) async fn read(
    parts: &Parts,
    upload: &Upload,
    max_upload_bytes: usize,
) -> Result<(ValidRequest, Payload), Problem> {
    let broken = |error: MultipartError| match upload.fault() {
        Some(fault) => Problem::from(fault),
        None => Problem::new(ProblemType::MalformedRequest, error.body_text()),
    };
    let mut form = open(parts, upload).await?;
    let mut request = JobRequest::default();
    let mut picture = None;
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        let Some(name) = field.name().map(str::to_owned) else {
            let detail = "a part of the form has no name, or one that is not UTF-8";
            return Err(Problem::new(ProblemType::MalformedRequest, detail));
        };
        if name == FILE {
            let bytes = collect(&mut field, max_upload_bytes)
                .await
                .map_err(|stop| match stop {
                    Stop::TooLong => UploadError::TooLarge {
                        limit: max_upload_bytes,
                    }
                    .into(),
                    Stop::Broken(error) => broken(error),
                })?;
            if picture.replace(bytes).is_some() {
                return Err(FieldError::Duplicate(name).into());
            }
        } else {
            JobRequest::check(&name)?;
            let bytes = collect(&mut field, MAX_TEXT_BYTES).await.map_err(|stop| match stop {
                Stop::TooLong => Problem::new(
                    ProblemType::InvalidField,
                    format!("a text field has more than {MAX_TEXT_BYTES} bytes; the picture belongs into the field `{FILE}`"),
                ),
                Stop::Broken(error) => broken(error),
            })?;
            let text = String::from_utf8(bytes.into()).map_err(|_| {
                Problem::new(
                    ProblemType::MalformedRequest,
                    "a text field is not valid UTF-8",
                )
            })?;
            request.set(&name, text)?;
        }
    }
    let Some(picture) = picture else {
        let detail = format!("the form has no field `{FILE}`: put the picture there");
        return Err(Problem::new(ProblemType::MissingPicture, detail));
    };
    Ok((request.validate()?, Payload::Picture(picture.freeze())))
}

/// Opens a body as a multipart form.
pub(crate) async fn open(parts: &Parts, upload: &Upload) -> Result<Multipart, Problem> {
    let mut request = Request::new(Body::from_stream(upload.stream()));
    request.headers_mut().clone_from(&parts.headers);
    // axum's own limit is 2 MB; `upload` bounds this body.
    DefaultBodyLimit::disable().apply(&mut request);
    let form = Multipart::from_request(request, &()).await;
    form.map_err(|error| Problem::new(ProblemType::MalformedRequest, error.body_text()))
}

pub(crate) enum Stop {
    TooLong,
    Broken(MultipartError),
}

/// Reads one part, of at most `limit` bytes.
pub(crate) async fn collect(field: &mut Field<'_>, limit: usize) -> Result<BytesMut, Stop> {
    let mut whole = BytesMut::new();
    while let Some(piece) = field.chunk().await.map_err(Stop::Broken)? {
        if whole.len() + piece.len() > limit {
            return Err(Stop::TooLong);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}
