//! Rate limits per user and per address.

use super::super::harness::{Answer, Service, send};
use super::{account, start};
use std::collections::BTreeMap;

/// More requests than any limit here allows, even on a slow machine.
const MANY: usize = 20;

/// A write that is refused right after the limit.
fn write(api: &Service) -> reqwest::RequestBuilder {
    api.http.post(format!("{}/v1/jobs", api.base))
}

fn read(api: &Service) -> reqwest::RequestBuilder {
    api.http.get(format!("{}/v1/jobs/a", api.base))
}

/// The statuses of many requests at once, counted.
async fn many(
    request: impl Fn(usize) -> reqwest::RequestBuilder,
) -> anyhow::Result<BTreeMap<u16, usize>> {
    let mut counts = BTreeMap::new();
    for answer in futures::future::join_all((0..MANY).map(|n| send(request(n)))).await {
        let answer = answer?;
        if answer.status == 429 {
            assert_limited(&answer);
        }
        *counts.entry(answer.status).or_default() += 1;
    }
    Ok(counts)
}

fn assert_limited(answer: &Answer) {
    assert_eq!(answer.problem(), "rate-limited");
    let seconds = answer
        .header("retry-after")
        .and_then(|text| text.parse::<u32>().ok());
    assert!(
        seconds.is_some_and(|seconds| (1..=2).contains(&seconds)),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_user_above_the_limit_must_wait_and_others_need_not() -> anyhow::Result<()> {
    let api = start(&["--rate-limit-writes", "1"]).await?;
    let a = account(&api.cluster, api.namespace.name(), "a", &["create", "get"]).await?;
    let b = account(&api.cluster, api.namespace.name(), "b", &["create", "get"]).await?;
    assert!(
        many(|_| write(&api).bearer_auth(&a))
            .await?
            .contains_key(&429)
    );
    assert_eq!(send(write(&api).bearer_auth(&b)).await?.status, 415);
    // Reads have a limit of their own.
    assert_eq!(
        many(|_| read(&api).bearer_auth(&a)).await?,
        [(404, MANY)].into()
    );
    Ok(())
}

#[tokio::test]
async fn a_client_s_own_header_does_not_make_it_another_client() -> anyhow::Result<()> {
    let api = Service::start(&["--rate-limit-writes", "1"]).await?;
    let spoofed = |n: usize| {
        write(&api)
            .header("x-forwarded-for", format!("10.0.0.{n}"))
            .header("forwarded", format!("for=10.0.0.{n}"))
            .header("x-real-ip", format!("10.0.0.{n}"))
    };
    assert!(many(spoofed).await?.contains_key(&429));
    Ok(())
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit_whatever_it_sends()
-> anyhow::Result<()> {
    let flags = [
        "--rate-limit-writes",
        "1",
        "--trusted-proxies",
        "127.0.0.0/8,::1/128",
    ];
    let api = Service::start(&flags).await?;
    let forwarded = |list: String| write(&api).header("x-forwarded-for", list);
    let apart = many(|n| forwarded(format!("10.0.0.{n}"))).await?;
    assert_eq!(apart, [(415, MANY)].into());
    let one = many(|n| forwarded(format!("10.0.0.{n}, 192.0.2.7"))).await?;
    assert!(one.contains_key(&429), "{one:?}");
    Ok(())
}

#[tokio::test]
async fn an_address_that_guesses_tokens_is_limited_before_the_review() -> anyhow::Result<()> {
    let api = start(&["--rate-limit-token-reviews", "1"]).await?;
    let good = account(&api.cluster, api.namespace.name(), "a", &["get"]).await?;
    assert_eq!(send(read(&api).bearer_auth(&good)).await?.status, 404);
    let guessed = many(|n| read(&api).bearer_auth(format!("guess-{n}"))).await?;
    assert!(guessed.contains_key(&429), "{guessed:?}");
    // A cached token needs no review, so it is not limited.
    assert_eq!(send(read(&api).bearer_auth(&good)).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn a_user_that_tries_many_namespaces_is_limited() -> anyhow::Result<()> {
    let api = start(&["--rate-limit-reads", "1"]).await?;
    let token = account(&api.cluster, api.namespace.name(), "a", &["get"]).await?;
    let tried = many(|n| {
        let request = read(&api).bearer_auth(&token);
        request.header("fovea-namespace", format!("guess-{n}"))
    });
    let tried = tried.await?;
    assert!(tried.contains_key(&429), "{tried:?}");
    Ok(())
}

#[tokio::test]
async fn without_authentication_only_configured_limits_apply() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    assert_eq!(many(|_| write(&api)).await?, [(415, MANY)].into());
    Ok(())
}
