//! Observability of the operator: health, metrics, traces and log lines.

use anyhow::{Context as _, Result, ensure};
use fovea_harness::{eventually, stack};
use fovea_tests::collector::Collector;
use fovea_tests::operated::{JOBS, PATIENCE};
use fovea_tests::{Operated, Options};
use kube::ResourceExt as _;
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const MADE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn get(operated: &Operated, path: &str) -> Result<(u16, String)> {
    let answer = reqwest::get(format!("{}{path}", operated.health_url)).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test]
async fn a_leader_whose_loop_is_blocked_fails_its_liveness_and_another_takes_over() -> Result<()> {
    let options = Options::default().short_lease();
    let operated = Operated::start(options.clone()).await?;
    let held = Options {
        program: Some(stack::find("fovea-operator-failpoints")?),
        env: vec![("FAILPOINTS".to_owned(), "loop-turns=pause".to_owned())],
        ..options.clone()
    };
    let (victim, health) = operated.standby(&held).await?;
    let livez = async || anyhow::Ok(reqwest::get(format!("{health}/livez")).await?);
    assert_eq!(livez().await?.status(), 200, "it does not lead yet");
    operated.operator.terminate().await?;
    eventually("/livez to fail", PATIENCE, || async {
        let answer = livez().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status == 500 && text.contains("stood still"), "{text}");
        Ok(())
    })
    .await?;
    // As the kubelet does.
    victim.kill().await?;
    let heir = operated.another_operator(&options, None).await?;
    operated.submit("after-takeover", "caption x").await?;
    operated.ended("after-takeover").await?;
    assert!(heir.terminate().await?.success());
    operated.judge();
    Ok(())
}

/// Waits until `/metrics` has each of these lines.
async fn has_metrics(operated: &Operated, lines: &[&str]) -> Result<()> {
    eventually("the metrics", PATIENCE, || async {
        let (_, text) = get(operated, "/metrics").await?;
        for line in lines {
            ensure!(
                text.lines().any(|each| each == *line),
                "{line} is not in\n{text}"
            );
        }
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn jobs_are_counted_by_metrics_while_they_wait_run_and_end() -> Result<()> {
    let options = Options {
        slots: 1,
        ..Options::default()
    };
    let operated = Operated::start(options).await?;
    operated.submit("done", "caption x").await?;
    operated.ended("done").await?;
    operated.submit("broken", "problem InvalidPicture").await?;
    operated.ended("broken").await?;
    let running = operated.submit("running", "wait 600000 caption x").await?;
    operated.begun(&running.uid().unwrap(), 1).await?;
    operated.submit("a-secret-name", "caption x").await?;
    let pool = r#"pool="fovea-system/default""#;
    let in_flight = format!("fovea_operator_attempts_in_flight{{{pool}}} 1");
    let depth = format!(r#"fovea_operator_queue_depth{{{pool},task="image-to-text"}} 1"#);
    let empty = format!(r#"fovea_operator_queue_depth{{{pool},task="object-detection"}} 0"#);
    let up = format!(r#"fovea_operator_runners{{{pool},state="up"}} 1"#);
    has_metrics(
        &operated,
        &[
            &in_flight,
            &depth,
            &empty,
            &up,
            r#"fovea_operator_jobs{state="unfinished"} 2"#,
            r#"fovea_operator_jobs{state="finished"} 2"#,
            r#"fovea_operator_attempts_total{outcome="succeeded",reason="none"} 1"#,
            r#"fovea_operator_attempts_total{outcome="failed",reason="InvalidPicture"} 1"#,
            r#"fovea_operator_job_stage_seconds_count{stage="total"} 1"#,
            r#"fovea_operator_job_stage_seconds_count{stage="infer"} 1"#,
            "fovea_operator_leading 1",
            "fovea_operator_lease_acquisitions_total 1",
            r#"fovea_operator_cluster_requests_total{resource="leases",method="POST",outcome="2xx"} 1"#,
        ],
    )
    .await?;
    let (_, text) = get(&operated, "/metrics").await?;
    let oldest = format!(r#"fovea_operator_oldest_waiting_seconds{{{pool},task="image-to-text"}}"#);
    let age = text.lines().find_map(|line| line.strip_prefix(&oldest));
    assert!(age.context("an age")?.trim().parse::<f64>()? < 600.0);
    for line in ["status_writes_total{outcome=\"stands\"}", "# EOF"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // No label is a user's word.
    assert!(!text.contains("a-secret-name"), "{text}");

    operated
        .patch("running", serde_json::json!({"cancel": true}))
        .await?;
    operated.ended("running").await?;
    operated.ended("a-secret-name").await?;
    let aborted = r#"fovea_operator_attempts_total{outcome="aborted",reason="Cancelled"} 1"#;
    let emptied = format!(r#"fovea_operator_queue_depth{{{pool},task="image-to-text"}} 0"#);
    has_metrics(&operated, &[aborted, &emptied]).await
}

#[test]
fn a_leader_and_its_standby_are_live_and_ready_and_report_their_role() -> Result<()> {
    Operated::shared(async |operated| {
        assert_eq!(get(operated, "/livez").await?, (200, "ok\n".to_owned()));
        assert_eq!(get(operated, "/readyz").await?, (200, "ok\n".to_owned()));
        let (status, text) = get(operated, "/readyz?verbose").await?;
        assert_eq!(status, 200);
        assert!(text.contains("[+]lease ok: leading"), "{text}");
        assert!(text.contains("[+]caches ok"), "{text}");

        let (standby, health) = operated.standby(&Options::default()).await?;
        let get_text =
            async |path: &str| reqwest::get(format!("{health}{path}")).await?.text().await;
        let text = get_text("/readyz?verbose").await?;
        assert!(text.contains("[+]lease ok: standing by"), "{text}");
        assert_eq!(get_text("/livez").await?, "ok\n");
        let text = get_text("/metrics").await?;
        assert!(text.contains("fovea_operator_leading 0"), "{text}");
        assert!(standby.terminate().await?.success());
        Ok(())
    })
}

#[tokio::test]
async fn each_change_of_a_job_is_one_json_line_in_the_log() -> Result<()> {
    let mut options = Options::default();
    let json = ("FOVEA_OPERATOR_LOG_FORMAT", "json");
    options.env.push((json.0.to_owned(), json.1.to_owned()));
    let operated = Operated::start(options).await?;
    let script = "problem OutOfMemory\nwait 1500 caption x";
    let mut job = Operated::job("lines", script);
    job.spec.retry = serde_json::from_value(serde_json::json!({
        "limit": 3, "initialDelaySeconds": 1, "maxDelaySeconds": 1,
    }))?;
    let uid = operated.create(&job).await?.uid().unwrap();
    operated.ended("lines").await?;
    let lines = eventually("the last line", PATIENCE, || async {
        let log = tokio::fs::read_to_string(operated.operator.log_path()).await?;
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let changed = |line: &Value| line["message"] == "job changed" && line["job"] == "lines";
        let lines: Vec<Value> = lines.filter(changed).collect();
        let last = lines.last().context("no line")?;
        ensure!(last["to"] == "Succeeded", "{last}");
        Ok::<_, anyhow::Error>(lines)
    })
    .await?;
    let changes: Vec<_> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["namespace"], JOBS, "{line}");
            assert_eq!(line["uid"], uid.as_str(), "{line}");
            ["from", "to", "reason"].map(|key| line[key].as_str().unwrap_or_default())
        })
        .collect();
    assert_eq!(
        changes,
        [
            ["Pending", "Pending", "OutOfMemory"],
            ["Pending", "Running", "RunnerFound"],
            ["Running", "Succeeded", "Succeeded"],
        ]
    );
    let attempts: Vec<_> = lines.iter().map(|line| line["attempt"].as_u64()).collect();
    assert_eq!(attempts, [Some(1), Some(2), Some(2)]);
    Ok(())
}

#[tokio::test]
async fn a_runner_s_span_is_a_child_of_the_attempt_s_span() -> Result<()> {
    let collector = Collector::start().await?;
    let (name, value) = &collector.env;
    let mut options = Options::default();
    options.env.push(((*name).to_owned(), value.clone()));
    let operated = Operated::start(options).await?;
    let mut job = Operated::job("traced", "caption x");
    let annotation = "fovea.dev/traceparent".to_owned();
    job.annotations_mut().insert(annotation, MADE.to_owned());
    let uid = operated.create(&job).await?.uid().unwrap();
    operated.ended("traced").await?;
    let attempts = operated.runner.attempts_of(&uid);
    let sent = attempts[0].traceparent.clone().context("a traceparent")?;
    assert!(sent.starts_with(&format!("00-{TRACE}-")), "{sent}");
    assert!(sent.ends_with("-01") && sent != MADE, "{sent}");

    assert!(operated.operator.terminate().await?.success());
    let span = &sent[36..52];
    let parent = &MADE[36..52];
    eventually("the span", PATIENCE, || async {
        for id in [span, parent] {
            let id = u64::from_str_radix(id, 16)?.to_be_bytes();
            ensure!(collector.has(&id), "not yet");
        }
        ensure!(collector.has(b"fovea-operator"), "not yet");
        ensure!(collector.has(b"succeeded"), "not yet");
        Ok(())
    })
    .await?;
    Ok(())
}

#[test]
fn a_runner_gets_the_job_s_trace_even_if_no_spans_are_exported() -> Result<()> {
    Operated::shared(async |operated| {
        let mut job = Operated::job("traced-by-others", "caption x");
        let annotation = "fovea.dev/traceparent".to_owned();
        job.annotations_mut().insert(annotation, MADE.to_owned());
        let uid = operated.create(&job).await?.uid().unwrap();
        operated.ended("traced-by-others").await?;
        let attempts = operated.runner.attempts_of(&uid);
        assert_eq!(attempts[0].traceparent.as_deref(), Some(MADE));
        Ok(())
    })
}
