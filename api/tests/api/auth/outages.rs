//! Without an answer of the API server every request is refused.

use super::super::harness::{Answer, Surroundings, cluster, proxy, send};
use super::super::pictures::jpeg;
use super::{account, start_in};
use fovea_tests::proxy::Fate;

fn assert_shut(answer: &Answer) {
    let actual = (answer.status, answer.problem());
    assert_eq!(actual, (503, "cluster-unavailable"), "{answer:?}");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_valid_token_is_refused_only_while_reviews_are_not_answered() -> anyhow::Result<()> {
    // Every POST is lost, and reviews are POSTs.
    let proxy = proxy(&[], Fate::LoseRequest).await?;
    let api = start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let token = account(&api.cluster, api.namespace.name(), "a", &["create", "get"]).await?;
    assert_shut(&send(api.post(jpeg(55)).bearer_auth(&token)).await?);
    let read = api.http.get(format!("{}/v1/jobs/a", api.base));
    assert_shut(&send(read.bearer_auth(&token)).await?);
    assert_eq!(api.names().await?, Vec::<String>::new());
    // A review without an answer is not cached.
    proxy.rule([]);
    send(api.post(jpeg(55)).bearer_auth(&token)).await?.id()?;
    Ok(())
}

#[tokio::test]
async fn a_token_is_refused_while_access_reviews_are_not_answered() -> anyhow::Result<()> {
    let proxy = proxy(&[Fate::Pass], Fate::LoseAnswer).await?;
    let api = start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let token = account(&api.cluster, api.namespace.name(), "a", &["create"]).await?;
    assert_shut(&send(api.post(jpeg(56)).bearer_auth(&token)).await?);
    assert_eq!(api.names().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn without_the_right_to_review_every_request_is_refused_and_no_name_is_shown()
-> anyhow::Result<()> {
    let user = "system:serviceaccount:fovea-system:nobody";
    let surroundings = Surroundings {
        kubeconfig: cluster().await?.kubeconfig_for(user, &[])?,
        ..Surroundings::shared().await?
    };
    let api = start_in(surroundings, &[]).await?;
    let token = account(&api.cluster, api.namespace.name(), "a", &["create"]).await?;
    let answer = send(api.post(jpeg(57)).bearer_auth(&token)).await?;
    assert_eq!((answer.status, answer.problem()), (500, "internal"));
    assert!(!answer.body.to_string().contains("nobody"), "{answer:?}");
    Ok(())
}
