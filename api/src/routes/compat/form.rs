//! Reads a form as FastAPI does: unknown fields are skipped, the last of repeated fields counts, and
//! a part is a file if its header has a file name.

use super::answer::{FieldError, Refusal};
use crate::error::{Problem, ProblemType};
use crate::routes::jobs::multipart::{Stop, collect, open};
use crate::upload::{Upload, UploadError};
use axum::extract::multipart::{Field, MultipartError};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::request::Parts;

/// Upper bound on the bytes of a body without its file.
const ENVELOPE_BYTES: usize = 64 * 1024;
/// Upper bound on a text field in bytes, far longer than any valid text.
const MAX_TEXT_BYTES: usize = 4096;
/// Upper bound on the characters of a client's text that an error repeats.
const MAX_ECHO: usize = 80;
/// The field that holds the picture.
pub(super) const FILE: &str = "file";

#[derive(Default)]
pub(super) struct Form {
    file: Option<Entry>,
    text: Option<String>,
}

enum Entry {
    File(File),
    Text(String),
}

pub(super) struct File {
    /// File name that the client gives; only its extension is used.
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

impl Form {
    /// The file and the values of `texts`, or FastAPI's list of errors.
    pub(super) fn finish<const N: usize>(
        self,
        texts: [&'static str; N],
    ) -> Result<(File, [String; N]), Refusal> {
        let mut wrong = Vec::new();
        let file = match self.file {
            Some(Entry::File(file)) => Some(file),
            Some(Entry::Text(text)) => {
                wrong.push(FieldError::not_a_file(FILE, text));
                None
            }
            None => {
                wrong.push(FieldError::missing(FILE));
                None
            }
        };
        // FastAPI treats an empty text as missing.
        let text = self.text.filter(|text| !text.is_empty());
        let texts = texts.map(|name| {
            if text.is_none() {
                wrong.push(FieldError::missing(name));
            }
            text.clone().unwrap_or_default()
        });
        match file {
            Some(file) if wrong.is_empty() => Ok((file, texts)),
            _ => Err(Refusal::Fields(wrong)),
        }
    }
}

pub(super) fn body_limit(max_bytes: usize) -> usize {
    max_bytes.saturating_add(ENVELOPE_BYTES)
}

/// Reads a form; `text` names the route's text field. As with FastAPI, a body of another type is a
/// form without fields.
pub(super) async fn read(
    parts: &Parts,
    upload: &Upload,
    max_bytes: usize,
    text: Option<&str>,
) -> Result<Form, Problem> {
    let mut read = Form::default();
    if !is_multipart(&parts.headers) {
        return Ok(read);
    }
    let broken = |error: MultipartError| match upload.fault() {
        Some(UploadError::TooLarge { .. }) => too_large(max_bytes),
        Some(fault) => fault.into(),
        None => malformed(&error),
    };
    let mut form = open(parts, upload).await?;
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        let name = field.name().map(str::to_owned);
        if name.as_deref() == Some(FILE) {
            let file_name = file_name(&field);
            let bytes = match collect(&mut field, max_bytes).await {
                Ok(bytes) => bytes.freeze(),
                Err(Stop::TooLong) => return Err(too_large(max_bytes)),
                Err(Stop::Broken(error)) => return Err(broken(error)),
            };
            read.file = Some(if let Some(name) = file_name {
                Entry::File(File { name, bytes })
            } else {
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT_BYTES)]);
                Entry::Text(text.chars().take(MAX_ECHO).collect())
            });
        } else if name.is_some() && name.as_deref() == text {
            read.text = Some(match collect(&mut field, MAX_TEXT_BYTES).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(Stop::TooLong) => {
                    let detail = format!("a text field has more than {MAX_TEXT_BYTES} bytes");
                    return Err(Problem::new(ProblemType::InvalidField, detail));
                }
                Err(Stop::Broken(error)) => return Err(broken(error)),
            });
        } else {
            while field.chunk().await.map_err(broken)?.is_some() {}
        }
    }
    Ok(read)
}

fn too_large(max_bytes: usize) -> Problem {
    UploadError::TooLarge { limit: max_bytes }.into()
}

fn malformed(error: &MultipartError) -> Problem {
    Problem::new(ProblemType::MalformedRequest, error.body_text())
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let essence = |value: &http::HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        text.split(';').next().map(str::trim) == Some("multipart/form-data")
    };
    headers.get(CONTENT_TYPE).is_some_and(essence)
}

/// A part's file name; `None` if the part is no file. Some clients write a non-ASCII name as
/// `filename*=utf-8''...` or in bytes that are not UTF-8; its extension can still be read.
fn file_name(field: &Field<'_>) -> Option<String> {
    field.file_name().map(str::to_owned).or_else(|| {
        let header = field.headers().get(CONTENT_DISPOSITION)?;
        let text = String::from_utf8_lossy(header.as_bytes());
        let (_, name) = text.split_once("filename")?;
        let name = name.trim_start_matches(['*', '=', ' ', '"']);
        let name = name.split([';', '"']).next().unwrap_or_default();
        Some(name.trim_end().to_owned())
    })
}
