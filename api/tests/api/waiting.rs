//! `Prefer: wait`, and what is read while the watch is broken.

use super::harness::{PATIENCE, Service, Surroundings, cluster, send, until};
use super::pictures::jpeg;
use fovea_tests::proxy::{Fate, Proxy, Rule};
use http::Method;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_new_job_is_answered_whole_as_soon_as_it_has_ended() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let finished = async {
        let id = until("the job to exist", || async {
            let names = api.names().await?;
            names
                .first()
                .cloned()
                .ok_or_else(|| anyhow::anyhow!("none"))
        })
        .await?;
        let result = json!({"phase": "Succeeded", "result": {"caption": "a cat"}});
        api.tell(&id, result).await?;
        anyhow::Ok(id)
    };
    let waiting = send(api.post(jpeg(50)).header("prefer", "wait=25"));
    let (answer, id) = tokio::join!(waiting, finished);
    let (answer, id) = (answer?, id?);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["result"], json!({"caption": "a cat"}));
    assert_eq!(
        answer.header("location"),
        Some(format!("/v1/jobs/{id}").as_str())
    );
    assert_eq!(answer.header("preference-applied"), Some("wait=25"));
    assert_eq!(answer.header("retry-after"), None);
    Ok(())
}

#[tokio::test]
async fn a_wait_for_a_job_ends_with_it_also_where_it_fails() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(51))).await?.id()?;
    let failed = async {
        api.tell(&id, json!({"phase": "Running"})).await?;
        let failure = json!({"reason": "InvalidPicture", "message": "no", "retryable": false});
        api.tell(&id, json!({"phase": "Failed", "failure": failure}))
            .await
    };
    let waiting = send(api.job(&id, "").header("prefer", "respond-async, wait=25"));
    let (answer, told) = tokio::join!(waiting, failed);
    told?;
    let answer = answer?;
    assert_eq!(
        (answer.status, &answer.body["phase"]),
        (200, &json!("Failed"))
    );
    // Once it has ended there is nothing to wait for.
    let begun = Instant::now();
    let again = send(api.job(&id, "").header("prefer", "wait=25")).await?;
    assert_eq!(again.body["phase"], "Failed");
    assert!(begun.elapsed() < Duration::from_secs(10));
    Ok(())
}

#[tokio::test]
async fn a_wait_that_is_over_is_answered_with_what_is_known() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let begun = Instant::now();
    let answer = send(api.post(jpeg(52)).header("prefer", "wait=1")).await?;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let id = answer.id()?;
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let answer = send(api.job(&id, "").header("prefer", "wait=1")).await?;
    assert_eq!(
        (answer.status, &answer.body["phase"]),
        (200, &json!("Pending"))
    );
    // What cannot be read is as if it were not there.
    let answer = send(api.job(&id, "").header("prefer", "wait=soon")).await?;
    assert_eq!(
        (answer.status, answer.header("preference-applied")),
        (200, None)
    );
    Ok(())
}

#[tokio::test]
async fn a_thousand_waiters_for_a_few_jobs_are_answered_at_once() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let mut ids = Vec::new();
    for seed in 0..4 {
        ids.push(send(api.post(jpeg(seed))).await?.id()?);
    }
    let waiters = (0..1000).map(|number| {
        let id = &ids[number % ids.len()];
        send(api.job(id, "").header("prefer", "wait=25"))
    });
    let finished = async {
        for id in &ids {
            api.tell(id, json!({"phase": "Cancelled"})).await?;
        }
        anyhow::Ok(())
    };
    let (answers, finished) = tokio::join!(futures::future::join_all(waiters), finished);
    finished?;
    for answer in answers {
        let answer = answer?;
        assert_eq!(answer.body["phase"], "Cancelled", "{answer:?}");
    }
    // Those who come after the end, whom the watch has nothing to tell.
    let late = (0..1000).map(|number| send(api.job(&ids[number % ids.len()], "")));
    for answer in futures::future::join_all(late).await {
        let answer = answer?;
        assert_eq!(answer.body["phase"], "Cancelled", "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wait_for_which_there_is_no_place_is_not_honoured_and_places_are_given_back()
-> anyhow::Result<()> {
    let api = Service::start(&["--max-waiters", "1"]).await?;
    let id = send(api.post(jpeg(53))).await?.id()?;
    let stream = api.job(&id, "/events").send().await?;
    assert_eq!(stream.status(), 200);
    let answer = send(api.job(&id, "").header("prefer", "wait=25")).await?;
    assert_eq!(
        (answer.status, answer.header("preference-applied")),
        (200, None)
    );
    let refused = send(api.job(&id, "/events")).await?;
    assert_eq!(
        (refused.status, refused.problem()),
        (503, "too-many-waiters")
    );
    assert!(refused.header("retry-after").is_some());

    // The client of the stream leaves, then one that waits.
    drop(stream);
    let admitted = || async {
        let answer = send(api.job(&id, "").header("prefer", "wait=0")).await?;
        anyhow::ensure!(answer.header("preference-applied").is_some(), "{answer:?}");
        Ok(())
    };
    until("the stream's place to be free", admitted).await?;
    let short = Duration::from_millis(300);
    let left = api.job(&id, "").header("prefer", "wait=60").timeout(short);
    assert!(left.send().await.is_err());
    until("the waiter's place to be free", admitted).await?;
    Ok(())
}

#[tokio::test]
async fn while_the_watch_is_broken_jobs_are_read_from_the_api_server() -> anyhow::Result<()> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    proxy.rule([Rule::every(Method::GET, "watch=true", Fate::LoseRequest)]);
    let api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let id = send(api.post(jpeg(54))).await?.id()?;
    api.tell(&id, json!({"phase": "Running"})).await?;
    assert_eq!(
        api.get(&format!("/v1/jobs/{id}")).await?.body["phase"],
        "Running"
    );
    // No event comes, yet the answer is what the job is at the end of the wait.
    let ended = async {
        let begun = Instant::now();
        let answer = send(api.job(&id, "").header("prefer", "wait=2")).await?;
        assert!(begun.elapsed() < PATIENCE);
        anyhow::Ok(answer)
    };
    let told = api.tell(&id, json!({"phase": "Cancelled"}));
    let (answer, told) = tokio::join!(ended, told);
    told?;
    assert_eq!(answer?.body["phase"], "Cancelled");
    Ok(())
}

#[tokio::test]
async fn a_watch_that_works_again_is_believed_again() -> anyhow::Result<()> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    proxy.rule([Rule::every(Method::GET, "watch=true", Fate::LoseRequest)]);
    let api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let id = send(api.post(jpeg(55))).await?.id()?;
    proxy.rule([]);
    let told = until("the change to be told", || async {
        let finished = json!({"phase": "Running", "attempts": 1});
        api.tell(&id, finished).await?;
        let answer = send(api.job(&id, "").header("prefer", "wait=0")).await?;
        anyhow::ensure!(answer.body["phase"] == "Running", "{answer:?}");
        Ok(())
    });
    told.await?;
    let begun = Instant::now();
    let waiting = send(api.job(&id, "").header("prefer", "wait=60"));
    let ending = api.tell(&id, json!({"phase": "Cancelled"}));
    let (answer, told) = tokio::join!(waiting, ending);
    told?;
    assert_eq!(answer?.body["phase"], "Cancelled");
    assert!(begun.elapsed() < PATIENCE);
    Ok(())
}
