//! `Prefer: wait`, and reads while the watch is broken.

use super::harness::{PATIENCE, Service, Surroundings, cluster, send, until};
use super::pictures::jpeg;
use fovea_tests::proxy::{Fate, Proxy, Rule};
use http::Method;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_new_job_is_returned_with_its_result_as_soon_as_it_has_ended() -> anyhow::Result<()> {
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
        api.write_status(&id, result).await?;
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
async fn a_wait_ends_when_the_job_fails() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let id = send(api.post(jpeg(51))).await?.id()?;
    let failed = async {
        api.write_status(&id, json!({"phase": "Running"})).await?;
        let failure = json!({"reason": "InvalidPicture", "message": "no", "retryable": false});
        api.write_status(&id, json!({"phase": "Failed", "failure": failure}))
            .await
    };
    let waiting = send(api.job(&id, "").header("prefer", "respond-async, wait=25"));
    let (answer, written) = tokio::join!(waiting, failed);
    written?;
    let answer = answer?;
    assert_eq!(
        (answer.status, &answer.body["phase"]),
        (200, &json!("Failed"))
    );
    // A finished job needs no wait.
    let begun = Instant::now();
    let again = send(api.job(&id, "").header("prefer", "wait=25")).await?;
    assert_eq!(again.body["phase"], "Failed");
    assert!(begun.elapsed() < Duration::from_secs(10));
    Ok(())
}

#[tokio::test]
async fn after_the_wait_the_current_state_is_returned() -> anyhow::Result<()> {
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
    // A malformed preference is ignored.
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
            api.write_status(id, json!({"phase": "Cancelled"})).await?;
        }
        anyhow::Ok(())
    };
    let (answers, finished) = tokio::join!(futures::future::join_all(waiters), finished);
    finished?;
    for answer in answers {
        let answer = answer?;
        assert_eq!(answer.body["phase"], "Cancelled", "{answer:?}");
    }
    // Requests after the end, for which the watch has no event.
    let late = (0..1000).map(|number| send(api.job(&ids[number % ids.len()], "")));
    for answer in futures::future::join_all(late).await {
        let answer = answer?;
        assert_eq!(answer.body["phase"], "Cancelled", "{answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wait_beyond_the_limit_is_not_honoured_and_ended_waits_free_the_limit()
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

    // The stream's client disconnects, then a waiting one.
    drop(stream);
    let admitted = || async {
        let answer = send(api.job(&id, "").header("prefer", "wait=0")).await?;
        anyhow::ensure!(answer.header("preference-applied").is_some(), "{answer:?}");
        Ok(())
    };
    until("the stream's place to be free", admitted).await?;
    let short = Duration::from_millis(300);
    let disconnected = api.job(&id, "").header("prefer", "wait=60").timeout(short);
    assert!(disconnected.send().await.is_err());
    until("the waiter's place to be free", admitted).await?;
    Ok(())
}

#[tokio::test]
async fn while_the_watch_is_broken_jobs_are_read_from_the_api_server() -> anyhow::Result<()> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    proxy.rule([Rule::every(Method::GET, "watch=true", Fate::LoseRequest)]);
    let api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let id = send(api.post(jpeg(54))).await?.id()?;
    api.write_status(&id, json!({"phase": "Running"})).await?;
    assert_eq!(
        api.get(&format!("/v1/jobs/{id}")).await?.body["phase"],
        "Running"
    );
    // No event comes, yet the response is the job's state at the end of the wait.
    let ended = async {
        let begun = Instant::now();
        let answer = send(api.job(&id, "").header("prefer", "wait=2")).await?;
        assert!(begun.elapsed() < PATIENCE);
        anyhow::Ok(answer)
    };
    let written = api.write_status(&id, json!({"phase": "Cancelled"}));
    let (answer, written) = tokio::join!(ended, written);
    written?;
    assert_eq!(answer?.body["phase"], "Cancelled");
    Ok(())
}

#[tokio::test]
async fn a_watch_that_falls_silent_is_noticed_and_a_waiting_client_gets_the_end()
-> anyhow::Result<()> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    let api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let id = send(api.post(jpeg(56))).await?.id()?;
    proxy.rule([Rule::next(1, Method::GET, "watch=true", Fate::Silence)]);
    proxy.break_watches();
    until("the watch to be silent", || async {
        anyhow::ensure!(proxy.met() == 1, "not yet");
        Ok(())
    })
    .await?;
    let begun = Instant::now();
    api.write_status(&id, json!({"phase": "Cancelled"})).await?;
    let waiting = api.job(&id, "").header("prefer", "wait=60");
    let answer = send(waiting.timeout(2 * PATIENCE)).await?;
    assert_eq!(answer.body["phase"], "Cancelled");
    // Noticed within 25 s; the rest is for a loaded machine.
    assert!(begun.elapsed() < Duration::from_secs(45), "{answer:?}");
    assert_eq!(api.get("/readyz").await?.status, 200);
    Ok(())
}

/// A 404 that does not name the job comes from something before the API server.
#[tokio::test]
async fn a_404_of_a_proxy_does_not_say_that_there_is_no_such_job() -> anyhow::Result<()> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    let api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let id = send(api.post(jpeg(57))).await?.id()?;
    api.write_status(
        &id,
        json!({"phase": "Succeeded", "result": {"caption": "a"}}),
    )
    .await?;
    send(api.job(&id, "").header("prefer", "wait=25")).await?;
    proxy.rule([Rule::every(
        Method::GET,
        "inferencejobs/",
        Fate::Answer(404),
    )]);
    let answer = send(api.job(&id, "")).await?;
    let refused = (answer.status, answer.problem());
    assert_eq!(refused, (503, "cluster-unavailable"), "{answer:?}");
    let delete = || send(api.http.delete(format!("{}/v1/jobs/{id}", api.base)));
    proxy.rule([Rule::next(
        1,
        Method::DELETE,
        "inferencejobs/",
        Fate::Answer(404),
    )]);
    assert_eq!(delete().await?.status, 503);
    let deleted = delete().await?;
    assert!(deleted.status < 300, "{deleted:?}");
    assert_eq!(send(api.job(&id, "")).await?.status, 404);
    Ok(())
}

#[tokio::test]
async fn a_recovered_watch_is_used_again() -> anyhow::Result<()> {
    let proxy = Proxy::start(cluster().await?, None).await?;
    proxy.rule([Rule::every(Method::GET, "watch=true", Fate::LoseRequest)]);
    let api = Service::start_in(Surroundings::behind(&proxy).await?, &[]).await?;
    let id = send(api.post(jpeg(55))).await?.id()?;
    proxy.rule([]);
    let written = until("the watch to report the change", || async {
        let finished = json!({"phase": "Running", "attempts": 1});
        api.write_status(&id, finished).await?;
        let answer = send(api.job(&id, "").header("prefer", "wait=0")).await?;
        anyhow::ensure!(answer.body["phase"] == "Running", "{answer:?}");
        Ok(())
    });
    written.await?;
    let begun = Instant::now();
    let waiting = send(api.job(&id, "").header("prefer", "wait=60"));
    let ending = api.write_status(&id, json!({"phase": "Cancelled"}));
    let (answer, written) = tokio::join!(waiting, ending);
    written?;
    assert_eq!(answer?.body["phase"], "Cancelled");
    assert!(begun.elapsed() < PATIENCE);
    Ok(())
}
