//! Delivery of a job's end, and deletion of the job only afterwards.

use super::{job, shared, url, verified};
use anyhow::{Result, ensure};
use fovea_harness::eventually;
use fovea_tests::Operated;
use fovea_tests::operated::PATIENCE;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use standardwebhooks::HEADER_WEBHOOK_ID;

#[test]
fn a_job_s_end_is_delivered_once_and_signed() -> Result<()> {
    shared(async |setting| {
        let path = "/once/200";
        let job = setting.submit("once", path).await?;
        let record = setting.delivered("once").await?;
        assert_eq!((record.attempts, record.last_error), (1, None));
        assert_eq!(record.next_attempt_time, None);

        let received = setting.receiver.received(path);
        assert_eq!(received.len(), 1, "{received:?}");
        let (uid, headers) = (job.uid().unwrap(), &received[0].headers);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers[HEADER_WEBHOOK_ID], format!("msg_{uid}"));
        let said = verified(&received[0])?;
        let status = setting.operated.ended("once").await?;
        assert_eq!(said["type"], "inferencejob.succeeded");
        assert_eq!(said["timestamp"], json!(status.completion_time));
        assert_eq!(said["data"]["id"], "once");
        assert_eq!(said["data"]["uid"], uid);
        assert_eq!(said["data"]["result"], json!({"caption": "a cat"}));

        let plain = setting
            .operated
            .submit("without-callback", "caption a cat")
            .await?;
        let status = setting.operated.ended(&plain.name_any()).await?;
        assert_eq!(status.callback, None);
        setting.operated.judge();
        Ok(())
    })
}

#[test]
fn failed_and_cancelled_jobs_are_delivered_too() -> Result<()> {
    shared(async |setting| {
        let mut failing = job("delivered-failed", &url(&setting.receiver, "/failed/200"));
        failing.spec.input = Operated::job("", "problem InvalidPicture").spec.input;
        setting.operated.create(&failing).await?;
        let mut cancelled = job(
            "delivered-cancelled",
            &url(&setting.receiver, "/cancelled/200"),
        );
        cancelled.spec.cancel = true;
        setting.operated.create(&cancelled).await?;
        for (name, path, event) in [
            ("delivered-failed", "/failed/200", "inferencejob.failed"),
            (
                "delivered-cancelled",
                "/cancelled/200",
                "inferencejob.cancelled",
            ),
        ] {
            setting.delivered(name).await?;
            let said = verified(&setting.receiver.received(path)[0])?;
            assert_eq!(said["type"], event);
            assert_eq!(said["data"]["result"], Value::Null);
        }
        Ok(())
    })
}

#[test]
fn a_job_is_deleted_only_after_its_callback_is_delivered_or_given_up() -> Result<()> {
    shared(async |setting| {
        let ends = [
            ("ttl-taken", "/ttl/500/500/200", 3),
            ("ttl-gone", "/ttl/500/410", 2),
        ];
        for (name, path, _) in ends {
            let mut short = job(name, &url(&setting.receiver, path));
            short.spec.ttl_seconds_after_finished = Some(0);
            setting.operated.create(&short).await?;
        }
        for (name, path, tries) in ends {
            eventually("the deletion", PATIENCE, || async {
                let found = setting.operated.jobs.get_opt(name).await?;
                ensure!(found.is_none(), "{found:?}");
                Ok(())
            })
            .await?;
            assert_eq!(setting.receiver.received(path).len(), tries);
        }
        Ok(())
    })
}
