//! Rows on the fields, given as query parameters.

use super::super::harness::Service;
use super::super::pictures::jpeg;
use super::Row;

pub(super) fn rows(api: &Service) -> Vec<Row> {
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
        invalid("too many beams", "numBeams=11"),
        invalid("beams of a detection", "task=object-detection&numBeams=2"),
        invalid("empty prompt", "prompt="),
        invalid("long prompt", &format!("prompt={}", "x".repeat(513))),
        invalid("labels of a caption", "topK=5"),
        invalid("callback over http", "callbackUrl=http://example.com"),
        invalid("callback without a host", "callbackUrl=https:///a"),
        invalid("callback with a password", "callbackUrl=https://a:b@c/"),
        invalid("callback with a space", "callbackUrl=https://a/%20b"),
        invalid("callback with a fragment", "callbackUrl=https://a/%23b"),
        invalid("no callback", "callbackUrl="),
        invalid(
            "long callback",
            &format!("callbackUrl=https://a/{}", "x".repeat(2048)),
        ),
        invalid("prompt of a detection", "task=object-detection&prompt=a"),
        invalid(
            "a threshold over 1",
            "task=object-detection&scoreThresholdPermille=1001",
        ),
    ]
}
