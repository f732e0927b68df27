//! Rows on JSON bodies.

use super::super::harness::Service;
use super::super::pictures::{jpeg, png_of_length};
use super::{LIMIT, Row};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn rows(api: &Service) -> Vec<Row> {
    let url = format!("{}/v1/jobs", api.base);
    let data = STANDARD.encode(jpeg(0));
    let text = |body: &[u8]| {
        api.http
            .post(&url)
            .header("content-type", "application/json")
            .body(body.to_vec())
    };
    let json = |value: serde_json::Value| api.post_json(&value);
    vec![
        ("empty", text(b""), 400, "malformed-request"),
        (
            "half an object",
            text(b"{\"data\":"),
            400,
            "malformed-request",
        ),
        ("two objects", text(b"{}{}"), 400, "malformed-request"),
        (
            "bad UTF-8",
            text(b"{\"task\":\"\xff\"}"),
            400,
            "malformed-request",
        ),
        (
            "without bottom",
            text(&[b"{\"url\":".as_slice(), &[b'['; 1000]].concat()),
            400,
            "malformed-request",
        ),
        ("a list", json(json!([])), 422, "invalid-field"),
        ("null", json(json!(null)), 422, "invalid-field"),
        (
            "an unknown member",
            json(json!({"data": data, "colour": "red"})),
            422,
            "unknown-field",
        ),
        (
            "an unknown setting",
            json(json!({"data": data, "parameters": {"numberOfBeams": 5}})),
            422,
            "unknown-field",
        ),
        (
            "a member twice",
            text(b"{\"task\":\"a\",\"task\":\"a\"}"),
            422,
            "duplicate-field",
        ),
        (
            "a number for a text",
            json(json!({"data": data, "task": 1})),
            422,
            "invalid-field",
        ),
        (
            "half a token",
            json(json!({"data": data, "parameters": {"maxNewTokens": 1.5}})),
            422,
            "invalid-field",
        ),
        (
            "an unknown task",
            json(json!({"data": data, "task": "x"})),
            422,
            "invalid-field",
        ),
        ("no picture", json(json!({})), 422, "missing-picture"),
        (
            "empty data",
            json(json!({"data": ""})),
            422,
            "missing-picture",
        ),
        (
            "a URL",
            json(json!({"url": "http://169.254.169.254/"})),
            422,
            "remote-url",
        ),
        (
            "data and key",
            json(json!({"data": data, "key": "a"})),
            422,
            "invalid-field",
        ),
        (
            "no base64",
            json(json!({"data": "not base64!"})),
            422,
            "invalid-field",
        ),
        (
            "base64 of another alphabet",
            json(json!({"data": "_-_-"})),
            422,
            "invalid-field",
        ),
        (
            "a data URI without base64",
            json(json!({"data": "data:image/png,%89PNG"})),
            422,
            "invalid-field",
        ),
        (
            "base64 of a text",
            json(json!({"data": "aGVsbG8="})),
            415,
            "not-a-picture",
        ),
        (
            "one byte over",
            json(json!({"data": STANDARD.encode(png_of_length(LIMIT + 1))})),
            413,
            "too-large",
        ),
        (
            "far over",
            json(json!({"data": STANDARD.encode(vec![0; 3_000_000])})),
            413,
            "too-large",
        ),
        (
            "a key that climbs",
            json(json!({"key": "../other/1.jpg"})),
            422,
            "invalid-field",
        ),
        (
            "an empty key",
            json(json!({"key": ""})),
            422,
            "invalid-field",
        ),
        (
            "an escaped key",
            json(json!({"key": "a%2f..%2fb"})),
            422,
            "invalid-field",
        ),
        (
            "parameters in the query as well",
            api.http
                .post(format!("{url}?task=a"))
                .json(&json!({"data": data})),
            422,
            "unknown-field",
        ),
    ]
}

/// Rows on batches as JSON.
pub(super) fn batches(api: &Service) -> Vec<Row> {
    let url = format!("{}/v1/batches", api.base);
    let cats = json!({"prefix": {"prefix": "cats"}});
    let row = |name, body: serde_json::Value, problem| {
        (name, api.http.post(&url).json(&body), 422, problem)
    };
    vec![
        row("a batch without input", json!({}), "invalid-field"),
        row(
            "a batch of two inputs",
            json!({"input": {"prefix": {"prefix": "a"}, "manifest": {"key": "b"}}}),
            "invalid-field",
        ),
        row(
            "a batch of another kind of input",
            json!({"input": {"object": {"key": "a"}}}),
            "unknown-field",
        ),
        row(
            "an unknown member of an input",
            json!({"input": {"manifest": {"key": "a", "colour": 1}}}),
            "unknown-field",
        ),
        row(
            "a prefix of another namespace",
            json!({"input": {"prefix": {"prefix": "../other"}}}),
            "invalid-field",
        ),
        row(
            "an output inside the input",
            json!({"input": cats, "output": {"prefix": "cats/done"}}),
            "invalid-field",
        ),
        row(
            "the default output inside the input",
            json!({"input": {"archives": {"prefix": "batches"}}}),
            "invalid-field",
        ),
        row(
            "an unknown format",
            json!({"input": cats, "output": {"format": "xlsx"}}),
            "invalid-field",
        ),
        row(
            "a member of jobs",
            json!({"input": cats, "key": "a.jpg"}),
            "unknown-field",
        ),
        row(
            "a parameter of another task",
            json!({"input": cats, "parameters": {"topK": 1}}),
            "invalid-field",
        ),
        row(
            "too many shards",
            json!({"input": cats, "parallelism": 10_001}),
            "invalid-field",
        ),
    ]
}
