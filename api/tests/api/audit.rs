//! Who submitted, cancelled and deleted: a line of the log each, and an annotation of the job.

use super::auth::{self, account};
use super::harness::{Answer, Service, send};
use super::pictures::jpeg;
use fovea_crds::annotations;
use kube::ResourceExt as _;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

/// A job's life by requests with `token`; its id, and the annotation.
async fn life(api: &Service, token: Option<&str>) -> anyhow::Result<(String, String)> {
    let send_as = async |request: reqwest::RequestBuilder| -> anyhow::Result<Answer> {
        let authorized = token.into_iter().fold(request, |request, token| {
            request.header("authorization", format!("Bearer {token}"))
        });
        send(authorized).await
    };
    let id = send_as(api.post(jpeg(70))).await?.id()?;
    let job = api.jobs.get(&id).await?;
    let url = format!("{}/v1/jobs/{id}", api.base);
    let cancelled = send_as(api.http.post(format!("{url}/cancel"))).await?;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    let deleted = send_as(api.http.delete(&url)).await?;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    Ok((id, job.annotations()[annotations::SUBMITTED_BY].clone()))
}

/// User, verb, namespace and job of the audit's lines.
fn audited(api: &Service) -> anyhow::Result<Vec<[Value; 4]>> {
    let log = std::fs::read_to_string(api.process.log_path())?;
    let mut lines = Vec::new();
    for line in log.lines().filter(|line| line.contains("fovea_api::audit")) {
        let mut line: Value = serde_json::from_str(line)?;
        assert_eq!(line["level"], "INFO", "{line}");
        assert!(line["span"]["id"].is_string(), "{line}");
        lines.push(["user", "verb", "namespace", "job"].map(|field| line[field].take()));
    }
    Ok(lines)
}

fn expected(api: &Service, user: &str, id: &str) -> Vec<[Value; 4]> {
    let verbs = ["create", "cancel", "delete"].into_iter();
    let lines = verbs.map(|verb| [user, verb, api.namespace.name(), id].map(|word| json!(word)));
    lines.collect()
}

#[tokio::test]
async fn each_change_of_a_job_is_logged_with_its_user_who_is_named_on_the_job() -> anyhow::Result<()>
{
    let api = auth::start(&["--log-format", "json"]).await?;
    let namespace = api.namespace.name();
    let verbs = ["create", "get", "patch", "delete"];
    let token = account(&api.cluster, namespace, "jane", &verbs).await?;
    let (id, submitter) = life(&api, Some(&token)).await?;
    let user = format!("system:serviceaccount:{namespace}:jane");
    assert_eq!(submitter, user);
    assert_eq!(audited(&api)?, expected(&api, &user, &id));
    // A refused request changes nothing.
    assert_eq!(send(api.post(jpeg(70))).await?.status, 401);
    let missing = send(
        api.job(&id, "")
            .header("authorization", format!("Bearer {token}")),
    );
    assert_eq!(missing.await?.status, 404);
    assert_eq!(audited(&api)?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn without_authentication_the_user_is_anonymous_on_every_route() -> anyhow::Result<()> {
    let api = Service::start(&["--log-format", "json"]).await?;
    let (id, submitter) = life(&api, None).await?;
    assert_eq!(submitter, "anonymous");
    assert_eq!(audited(&api)?, expected(&api, "anonymous", &id));

    let picture = Part::bytes(jpeg(71)).file_name("a.jpg");
    let form = Form::new().part("file", picture);
    let url = format!("{}/api/v1/upload", api.base);
    let uploaded = send(api.http.post(url).multipart(form)).await?;
    assert_eq!(uploaded.status, 200, "{uploaded:?}");
    let [user, verb, _, job] = audited(&api)?.pop().unwrap_or_default();
    assert_eq!([user, verb], [json!("anonymous"), json!("create")]);
    assert_eq!(job, uploaded.body["job_id"]);
    Ok(())
}
