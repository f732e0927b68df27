//! A table of what a client can get wrong: each row a problem+json of the right status and type,
//! none a 500, and no job out of any.

use super::harness::{Answer, Service, send};
use super::pictures::{jpeg, png_header, png_of_length};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::RequestBuilder;
use reqwest::multipart::{Form, Part};
use serde_json::json;

/// The largest upload of the service under test.
const LIMIT: usize = 4096;
const BOUNDARY: &str = "multipart/form-data; boundary=X";

/// Name, request, status, problem.
type Row = (&'static str, RequestBuilder, u16, &'static str);

#[tokio::test]
async fn whatever_is_wrong_is_told_and_makes_no_job() -> anyhow::Result<()> {
    let limit = LIMIT.to_string();
    let api = Service::start(&["--max-upload-bytes", &limit]).await?;
    let tables = [
        content_types(&api),
        raw(&api),
        fields(&api),
        multipart(&api),
        json_members(&api),
        paths(&api),
    ];
    let mut wrong = Vec::new();
    let mut rows = 0;
    for (name, request, status, problem) in tables.into_iter().flatten() {
        rows += 1;
        match send(request).await {
            Ok(answer) if is_problem(&answer, status, problem) => {}
            other => wrong.push(format!("{name}: wanted {status} {problem}, got {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows >= 70, "{rows}");
    assert_eq!(api.names().await?, Vec::<String>::new());
    // The largest that is allowed.
    send(api.post(png_of_length(LIMIT))).await?.id()?;
    Ok(())
}

fn is_problem(answer: &Answer, status: u16, problem: &str) -> bool {
    let said = |member: &str| {
        answer.body[member]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    };
    answer.status == status
        && answer.problem() == problem
        && answer.header("content-type") == Some("application/problem+json")
        && answer.body["status"] == status
        && said("title")
        && said("detail")
        && said("instance")
}

fn content_types(api: &Service) -> Vec<Row> {
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

fn raw(api: &Service) -> Vec<Row> {
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

fn fields(api: &Service) -> Vec<Row> {
    let with = |query: &str| {
        let url = format!("{}/v1/jobs?{query}", api.base);
        api.http
            .post(url)
            .header("content-type", "image/jpeg")
            .body(jpeg(0))
    };
    let invalid = |name, query: &str| (name, with(query), 422, "invalid-field");
    vec![
        (
            "unknown parameter",
            with("colour=red"),
            422,
            "unknown-field",
        ),
        (
            "another case",
            with("Task=image-to-text"),
            422,
            "unknown-field",
        ),
        (
            "parameter twice",
            with("task=image-to-text&task=image-to-text"),
            422,
            "duplicate-field",
        ),
        ("bad UTF-8", with("prompt=%ff%fe"), 400, "malformed-request"),
        invalid("unknown task", "task=image-to-image"),
        invalid("empty task", "task="),
        invalid("bad model", "model=Salesforce/blip"),
        invalid("bad pool", "pool=a/b/c"),
        invalid("priority too high", "priority=1001"),
        invalid("priority no number", "priority=high"),
        invalid("no tokens", "maxNewTokens=0"),
        invalid("too many tokens", "maxNewTokens=513"),
        invalid("half a token", "maxNewTokens=1.5"),
        invalid(
            "tokens beyond any integer",
            "maxNewTokens=99999999999999999999",
        ),
        invalid("empty prompt", "prompt="),
        invalid("long prompt", &format!("prompt={}", "x".repeat(513))),
        invalid("labels of a caption", "topK=5"),
        invalid("prompt of a detection", "task=object-detection&prompt=a"),
        invalid(
            "a threshold over 1",
            "task=object-detection&scoreThresholdPermille=1001",
        ),
    ]
}

fn multipart(api: &Service) -> Vec<Row> {
    let url = format!("{}/v1/jobs", api.base);
    let form = |form: Form| api.http.post(&url).multipart(form);
    let text = |body: &'static str| {
        api.http
            .post(&url)
            .header("content-type", BOUNDARY)
            .body(body)
    };
    let file = || Part::bytes(jpeg(0)).file_name("a.jpg");
    let picture = || Form::new().part("file", file());
    vec![
        (
            "no boundary",
            api.http
                .post(&url)
                .header("content-type", "multipart/form-data")
                .body("x"),
            400,
            "malformed-request",
        ),
        ("empty form", text(""), 400, "malformed-request"),
        ("no form", text("hello"), 400, "malformed-request"),
        (
            "a form that breaks off",
            text("--X\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n\u{1}"),
            400,
            "malformed-request",
        ),
        (
            "a header that breaks off",
            text("--X\r\nContent-Disposition: form-data; na"),
            400,
            "malformed-request",
        ),
        (
            "a part without name",
            text("--X\r\nContent-Disposition: form-data\r\n\r\na\r\n--X--\r\n"),
            400,
            "malformed-request",
        ),
        ("no field", text("--X--\r\n"), 422, "missing-picture"),
        (
            "no file",
            form(Form::new().text("task", "image-to-text")),
            422,
            "missing-picture",
        ),
        (
            "an empty file",
            form(Form::new().part("file", Part::bytes(vec![]).file_name("a.jpg"))),
            422,
            "missing-picture",
        ),
        (
            "two files",
            form(picture().part("file", file())),
            422,
            "duplicate-field",
        ),
        (
            "a field twice",
            form(
                picture()
                    .text("task", "image-to-text")
                    .text("task", "image-to-text"),
            ),
            422,
            "duplicate-field",
        ),
        (
            "an unknown field",
            form(picture().text("colour", "red")),
            422,
            "unknown-field",
        ),
        (
            "a picture in another field",
            form(Form::new().part("image", file())),
            422,
            "unknown-field",
        ),
        (
            "parameters in the query as well",
            api.http
                .post(format!("{url}?task=image-to-text"))
                .multipart(picture()),
            422,
            "unknown-field",
        ),
        (
            "an unknown task",
            form(picture().text("task", "x")),
            422,
            "invalid-field",
        ),
        (
            "a long text",
            form(picture().text("prompt", "x".repeat(20_000))),
            422,
            "invalid-field",
        ),
        (
            "bad UTF-8",
            form(picture().part("prompt", Part::bytes(vec![0xff]))),
            400,
            "malformed-request",
        ),
        (
            "no picture",
            form(Form::new().part("file", Part::bytes("hello").file_name("a.jpg"))),
            415,
            "not-a-picture",
        ),
        (
            "one byte over",
            form(Form::new().part("file", Part::bytes(png_of_length(LIMIT + 1)))),
            413,
            "too-large",
        ),
        (
            "far over",
            form(Form::new().part("file", Part::bytes(vec![0; 3_000_000]))),
            413,
            "too-large",
        ),
        (
            "headers without end",
            form(Form::new().part("file", file().file_name("x".repeat(200_000)))),
            413,
            "too-large",
        ),
    ]
}

fn json_members(api: &Service) -> Vec<Row> {
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
            json(json!({"data": data, "parameters": {"numBeams": 5}})),
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

fn paths(api: &Service) -> Vec<Row> {
    let get = |path: &str| api.http.get(format!("{}{path}", api.base));
    let long = format!("/v1/jobs/{}", "a".repeat(254));
    vec![
        (
            "an unknown id",
            get("/v1/jobs/6f9c4f0e-8d4b-4f3a-9d5e-3f1b2c4d5e6f"),
            404,
            "no-such-job",
        ),
        (
            "a malformed id",
            get("/v1/jobs/No_Such"),
            404,
            "no-such-job",
        ),
        (
            "an id that climbs",
            get("/v1/jobs/..%2f..%2fsecrets"),
            404,
            "no-such-job",
        ),
        (
            "an id with a query in it",
            get("/v1/jobs/a%3fwatch=1"),
            404,
            "no-such-job",
        ),
        ("a bad UTF-8 id", get("/v1/jobs/%ff"), 404, "no-such-job"),
        ("a long id", get(&long), 404, "no-such-job"),
        ("an empty id", get("/v1/jobs/"), 404, "no-such-route"),
        ("no route", get("/v2/jobs"), 404, "no-such-route"),
        ("root", get("/"), 404, "no-such-route"),
        (
            "GET of all jobs",
            get("/v1/jobs"),
            405,
            "method-not-allowed",
        ),
        (
            "PUT",
            api.http.put(format!("{}/v1/jobs", api.base)).body(jpeg(0)),
            405,
            "method-not-allowed",
        ),
        (
            "POST to a job",
            api.http.post(format!("{}/v1/jobs/a", api.base)),
            405,
            "method-not-allowed",
        ),
        (
            "POST to health",
            api.http.post(format!("{}/livez", api.base)),
            405,
            "method-not-allowed",
        ),
    ]
}

#[tokio::test]
async fn a_method_that_is_not_known_is_answered_with_those_that_are() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let answer = api.get("/v1/jobs").await?;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    Ok(())
}

#[tokio::test]
async fn a_truncated_jpeg_whose_header_is_whole_becomes_a_job_for_the_runner_to_fail()
-> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let whole = jpeg(7);
    send(api.post(whole[..whole.len() - 30].to_vec()))
        .await?
        .id()?;
    Ok(())
}
