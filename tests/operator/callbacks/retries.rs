//! Failed attempts, and their record in `status.callback`.

use super::{Setting, job, shared, url, verified};
use anyhow::{Result, ensure};
use axum::http::Method;
use fovea_crds::CallbackStatus;
use fovea_harness::eventually;
use fovea_tests::operated::PATIENCE;
use fovea_tests::proxy::{Fate, Rule};
use fovea_tests::receiver::Received;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_TIMESTAMP};

#[test]
fn a_receiver_that_fails_is_retried_with_the_same_id() -> Result<()> {
    shared(async |setting| {
        let path = "/flaky/500/503/200";
        setting.submit("flaky", path).await?;
        let record = setting.delivered("flaky").await?;
        assert_eq!(record.attempts, 3);
        let error = record.last_error.unwrap();
        assert_eq!(error, "the receiver answered HTTP 503 Service Unavailable");

        let received = setting.receiver.received(path);
        assert_eq!(received.len(), 3);
        let id = |received: &Received| received.headers[HEADER_WEBHOOK_ID].clone();
        for each in &received {
            verified(each)?;
            assert_eq!(each.body, received[0].body);
            assert_eq!(id(each), id(&received[0]));
        }
        let sent = |each: &Received| -> i64 {
            let header = each.headers[HEADER_WEBHOOK_TIMESTAMP].to_str().unwrap();
            header.parse().unwrap()
        };
        assert!(sent(&received[0]) < sent(&received[2]), "signed anew");
        Ok(())
    })
}

/// The second write of the record reads the job again, but must not send the callback again.
#[test]
fn a_job_that_others_change_during_an_attempt_still_gets_its_record() -> Result<()> {
    shared(async |setting| {
        let path = "/changed/hang/200";
        setting.submit("changed", path).await?;
        eventually("the first try", PATIENCE, || async {
            let tries = setting.receiver.received(path).len();
            ensure!(tries == 1, "{tries} tries");
            Ok(())
        })
        .await?;
        let label = Patch::Merge(json!({"metadata": {"labels": {"changed": "yes"}}}));
        let params = PatchParams::default();
        setting
            .operated
            .jobs
            .patch("changed", &params, &label)
            .await?;
        let record = setting.delivered("changed").await?;
        assert_eq!(record.attempts, 2);
        assert_eq!(setting.receiver.received(path).len(), 2);
        Ok(())
    })
}

#[tokio::test]
async fn a_record_whose_write_fails_is_written_again_without_a_second_call() -> Result<()> {
    let (setting, proxy) = Box::pin(Setting::behind_a_proxy()).await?;
    for (name, fate) in [
        ("conflict", Fate::Answer(409)),
        ("too-many", Fate::Answer(429)),
        ("internal", Fate::Answer(500)),
        ("invalid", Fate::Answer(422)),
        ("request-lost", Fate::LoseRequest),
        ("answer-lost", Fate::LoseAnswer),
    ] {
        proxy.rule([Rule::next(3, Method::PATCH, "/status", fate)]);
        let path = format!("/{name}/200");
        setting.submit(name, &path).await?;
        assert_eq!(setting.delivered(name).await?.attempts, 1, "{name}");
        assert!(proxy.met() > 0, "{name}");
        assert_eq!(setting.receiver.received(&path).len(), 1, "{name}");
    }
    // A Secret that cannot be read costs a try, and is no reason to send without it.
    proxy.rule([Rule::next(
        1,
        Method::GET,
        "/secrets/fovea-webhook",
        Fate::Answer(500),
    )]);
    setting.submit("locked", "/locked/200").await?;
    let record = setting.delivered("locked").await?;
    let error = record.last_error.unwrap();
    assert!(error.contains("cannot be read"), "{error}");
    assert_eq!(setting.receiver.received("/locked/200").len(), 1);
    setting.operated.judge();
    Ok(())
}

#[test]
fn a_receiver_that_is_gone_is_not_retried() -> Result<()> {
    shared(async |setting| {
        let path = "/gone/410/200";
        setting.submit("gone", path).await?;
        let is_over =
            |record: &CallbackStatus| record.attempts > 0 && record.next_attempt_time.is_none();
        let record = setting.record_where("gone", "to be over", is_over).await?;
        assert!(!record.delivered && record.last_error.unwrap().contains("410 Gone"));
        // A later callback to the same receiver has had two turns, and this one none.
        setting.submit("after-gone", "/after-gone/500/200").await?;
        setting.delivered("after-gone").await?;
        assert_eq!(setting.receiver.received(path).len(), 1);
        Ok(())
    })
}

/// Without a bound per receiver the hundred callbacks would use all slots, for ten seconds each.
#[test]
fn a_receiver_that_hangs_delays_no_other() -> Result<()> {
    shared(async |setting| {
        let path = "/stuck/hang";
        for number in 0..100 {
            let stuck = job(&format!("stuck-{number}"), &url(&setting.hanging, path));
            setting.operated.create(&stuck).await?;
        }
        let of_stuck = || setting.hanging.received(path).len();
        eventually("the hanging receiver to be full", PATIENCE, || async {
            ensure!(of_stuck() >= 8, "{} of 8", of_stuck());
            Ok(())
        })
        .await?;
        setting.submit("beside-stuck", "/beside-stuck/200").await?;
        assert_eq!(setting.delivered("beside-stuck").await?.attempts, 1);
        let no_answer = |record: &CallbackStatus| {
            let error = record.last_error.as_deref();
            error == Some("no answer from the receiver within 10 s")
        };
        let what = "to find no answer";
        setting.record_where("stuck-0", what, no_answer).await?;
        // One or the other that was given up may not have been noticed yet.
        let most = setting.hanging.most_hanging();
        assert!((8..16).contains(&most), "{most} at a time");
        Ok(())
    })
}

#[tokio::test]
async fn an_operator_killed_between_two_attempts_resumes_the_schedule() -> Result<()> {
    let mut setting = Setting::start().await?;
    let path = "/killed/500/500/500/200";
    setting.submit("killed", path).await?;
    let begun = |record: &CallbackStatus| record.attempts > 0;
    let what = "to be tried";
    setting.record_where("killed", what, begun).await?;
    setting.operated.operator.kill().await?;
    setting.operated.operator.restart().await?;

    let record = setting.delivered("killed").await?;
    let received = setting.receiver.received(path);
    // A try that the kill cut off from its record is made again, and is the only one.
    let repeated = received.len() - record.attempts as usize;
    assert!(repeated <= 1, "{record:?} after {}", received.len());
    let id = |received: &Received| received.headers[HEADER_WEBHOOK_ID].clone();
    for each in &received {
        verified(each)?;
        assert_eq!(id(each), id(&received[0]));
    }
    setting.operated.judge();
    Ok(())
}
