//! A table of invalid requests: each is answered by a problem+json of the right status and type, none
//! by a 500, and none creates a job.

mod fields;
mod heads;
mod json;
mod multipart;
mod paths;
mod raw;
mod reads;

use super::harness::{Answer, Service, send};
use super::pictures::{png_of_length, truncated_jpeg};
use reqwest::RequestBuilder;

/// The largest upload of the service under test.
const LIMIT: usize = 4096;

/// Name, request, status, problem.
type Row = (&'static str, RequestBuilder, u16, &'static str);

#[tokio::test]
async fn every_invalid_request_gets_its_problem_and_creates_no_job() -> anyhow::Result<()> {
    let limit = LIMIT.to_string();
    let api = Service::start(&["--max-upload-bytes", &limit]).await?;
    let tables = [
        raw::content_types(&api),
        raw::bodies(&api),
        fields::rows(&api),
        heads::namespaces(&api),
        heads::bombs(&api),
        multipart::rows(&api),
        json::rows(&api),
        json::batches(&api),
        paths::rows(&api),
        reads::rows(&api),
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
    assert!(rows >= 130, "{rows}");
    assert_eq!(api.names().await?, Vec::<String>::new());
    // The largest allowed picture.
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

#[tokio::test]
async fn an_unsupported_method_is_answered_with_the_allowed_ones() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let url = format!("{}/v1/jobs", api.base);
    let answer = send(api.http.delete(url)).await?;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("POST,GET,HEAD"))
    );
    Ok(())
}

#[tokio::test]
async fn a_truncated_jpeg_with_a_complete_header_becomes_a_job() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    send(api.post(truncated_jpeg())).await?.id()?;
    Ok(())
}
