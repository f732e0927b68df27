//! Rows on forms.

use super::super::harness::Service;
use super::super::pictures::{jpeg, png_of_length};
use super::{LIMIT, Row};
use reqwest::multipart::{Form, Part};

const BOUNDARY: &str = "multipart/form-data; boundary=X";

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn rows(api: &Service) -> Vec<Row> {
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
            form(Form::new().part("file", Part::text("hello").file_name("a.jpg"))),
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
