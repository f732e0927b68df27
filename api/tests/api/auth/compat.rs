//! Authentication of the compatibility routes: as on the other routes, or anonymous.

use super::super::harness::{Answer, Service, send};
use super::super::pictures::jpeg;
use super::{account, start};
use reqwest::RequestBuilder;
use reqwest::multipart::{Form, Part};

const CAPTION: &str = "/api/v1/upload";
const ANALYSIS: &str = "/upload-image";

fn upload(api: &Service, path: &str) -> RequestBuilder {
    let form = Form::new()
        .part("file", Part::bytes(jpeg(64)).file_name("a.jpg"))
        .text("analysis_type", "classification");
    api.http.post(format!("{}{path}", api.base)).multipart(form)
}

fn id(answer: &Answer) -> String {
    answer.body["job_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn assert_shut(answer: &Answer) {
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
}

fn assert_detail(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body["detail"].is_string(), "{answer:?}");
}

#[tokio::test]
async fn they_require_the_same_tokens_and_rights_as_the_other_routes() -> anyhow::Result<()> {
    let api = start(&[]).await?;
    let namespace = api.namespace.name();
    let user = account(&api.cluster, namespace, "user", &["create", "get"]).await?;
    let stranger = account(&api.cluster, namespace, "stranger", &["list"]).await?;
    for (path, status) in [(CAPTION, "/api/v1/status"), (ANALYSIS, "/job-status")] {
        let refused = send(upload(&api, path)).await?;
        assert_shut(&refused);
        assert_detail(&refused, 401);
        assert_detail(&send(upload(&api, path).bearer_auth(&stranger)).await?, 403);
        let made = send(upload(&api, path).bearer_auth(&user)).await?;
        assert!(made.status < 300, "{made:?}");
        let read = || api.http.get(format!("{}{status}/{}", api.base, id(&made)));
        assert_shut(&send(read()).await?);
        assert_detail(&send(read().bearer_auth(&stranger)).await?, 404);
        assert_eq!(send(read().bearer_auth(&user)).await?.status, 200);
    }
    assert_eq!(api.names().await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn an_anonymous_family_opens_no_other_route() -> anyhow::Result<()> {
    let api = start(&["--compat-image-analysis-anonymous=true"]).await?;
    let user = account(&api.cluster, api.namespace.name(), "user", &["create"]).await?;
    let made = send(upload(&api, ANALYSIS)).await?;
    assert_eq!(made.status, 202, "{made:?}");
    let read = |id: &str| send(api.http.get(format!("{}/job-status/{id}", api.base)));
    assert_eq!(read(&id(&made)).await?.status, 200);
    assert_shut(&send(upload(&api, CAPTION)).await?);
    assert_shut(&send(api.post(jpeg(64))).await?);
    assert_shut(&api.get(&format!("/v1/jobs/{}", id(&made))).await?);
    // It reads its own jobs, and none of the other routes.
    let other = send(api.post(jpeg(64)).bearer_auth(&user)).await?.id()?;
    assert_detail(&read(&other).await?, 404);
    Ok(())
}
