//! Rows on the body itself, its type and its headers.

use super::super::harness::Service;
use super::super::pictures::{jpeg, png_header, png_of_length};
use super::{LIMIT, Row};

pub(super) fn content_types(api: &Service) -> Vec<Row> {
    let url = format!("{}/v1/jobs", api.base);
    let typed = |kind: &str| {
        api.http
            .post(&url)
            .header("content-type", kind.to_owned())
            .body(jpeg(0))
    };
    let keyed = |key: &'static [u8]| {
        api.post(jpeg(0)).header(
            "idempotency-key",
            http::HeaderValue::from_bytes(key).expect("a value"),
        )
    };
    vec![
        (
            "no content type",
            api.http.post(&url).body(jpeg(0)),
            415,
            "unsupported-media-type",
        ),
        (
            "no body at all",
            api.http.post(&url),
            415,
            "unsupported-media-type",
        ),
        ("text", typed("text/plain"), 415, "unsupported-media-type"),
        (
            "curl's default",
            typed("application/x-www-form-urlencoded"),
            415,
            "unsupported-media-type",
        ),
        (
            "another multipart",
            typed("multipart/mixed; boundary=X"),
            415,
            "unsupported-media-type",
        ),
        ("no type", typed("image"), 415, "unsupported-media-type"),
        (
            "compressed",
            api.post(jpeg(0)).header("content-encoding", "gzip"),
            415,
            "unsupported-media-type",
        ),
        ("empty key", keyed(b""), 400, "malformed-request"),
        ("long key", keyed(&[b'k'; 256]), 400, "malformed-request"),
        (
            "key beyond ASCII",
            keyed(b"\xc3\xa9"),
            400,
            "malformed-request",
        ),
        (
            "two keys",
            keyed(b"a").header("idempotency-key", "b"),
            400,
            "malformed-request",
        ),
    ]
}

pub(super) fn bodies(api: &Service) -> Vec<Row> {
    let chunked = |bytes: Vec<u8>| {
        let pieces: Vec<_> = bytes
            .chunks(1000)
            .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
            .collect();
        reqwest::Body::wrap_stream(futures::stream::iter(pieces))
    };
    vec![
        ("empty", api.post(""), 422, "missing-picture"),
        (
            "empty, chunked",
            api.post(chunked(vec![])),
            422,
            "missing-picture",
        ),
        ("text", api.post("hello"), 415, "not-a-picture"),
        (
            "svg",
            api.post("<svg xmlns='http://www.w3.org/2000/svg'/>"),
            415,
            "not-a-picture",
        ),
        ("pdf", api.post("%PDF-1.7"), 415, "not-a-picture"),
        ("zeroes", api.post(vec![0; LIMIT]), 415, "not-a-picture"),
        (
            "a format that is not read",
            api.post("qoif\0\0\0\x01\0\0\0\x01\x03\0"),
            415,
            "not-a-picture",
        ),
        (
            "a magic number alone",
            api.post(&b"\x89PNG\r\n\x1a\n"[..]),
            415,
            "not-a-picture",
        ),
        (
            "half a JPEG header",
            api.post(jpeg(0)[..20].to_vec()),
            415,
            "not-a-picture",
        ),
        (
            "a PNG without size",
            api.post(png_header(0, 0)),
            415,
            "not-a-picture",
        ),
        (
            "one byte over",
            api.post(png_of_length(LIMIT + 1)),
            413,
            "too-large",
        ),
        (
            "one byte over, chunked",
            api.post(chunked(png_of_length(LIMIT + 1))),
            413,
            "too-large",
        ),
        ("far over", api.post(vec![0; 3_000_000]), 413, "too-large"),
        (
            "far over, chunked",
            api.post(chunked(vec![0; 3_000_000])),
            413,
            "too-large",
        ),
        (
            "pixel bomb",
            api.post(png_header(50_000, 50_000)),
            413,
            "too-many-pixels",
        ),
        (
            "pixel bomb of 64 bits",
            api.post(png_header(0x7fff_ffff, 0x7fff_ffff)),
            413,
            "too-many-pixels",
        ),
    ]
}
