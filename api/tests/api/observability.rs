//! Metrics and traces.

use super::harness::{Service, Surroundings, send, until};
use super::pictures::jpeg;
use fovea_crds::annotations;
use fovea_tests::collector::Collector;
use kube::ResourceExt as _;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn traceparent(api: &Service, request: reqwest::RequestBuilder) -> anyhow::Result<String> {
    let id = send(request).await?.id()?;
    let job = api.jobs.get(&id).await?;
    Ok(job.annotations()[annotations::TRACEPARENT].clone())
}

#[tokio::test]
async fn requests_are_counted_by_route_and_no_label_has_a_client_s_text() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let picture = jpeg(60);
    let length = picture.len() as u64;
    let id = send(api.post(picture)).await?.id()?;
    api.get(&format!(
        "/v1/namespaces/{}/jobs/{id}",
        api.namespace.name()
    ))
    .await?;
    api.get("/v1/jobs/secret-name").await?;
    api.get("/secret-path").await?;
    let brew = http::Method::from_bytes(b"BREW")?;
    send(api.http.request(brew, format!("{}/v1/jobs", api.base))).await?;
    for (line, count) in [
        (
            r#"fovea_api_requests_total{route="/v1/jobs",method="POST",status="2xx"}"#,
            1,
        ),
        (
            r#"fovea_api_requests_total{route="/v1/jobs/{id}",method="GET",status="2xx"}"#,
            1,
        ),
        (
            r#"fovea_api_requests_total{route="/v1/jobs/{id}",method="GET",status="4xx"}"#,
            1,
        ),
        (
            r#"fovea_api_requests_total{route="none",method="GET",status="4xx"}"#,
            1,
        ),
        (
            r#"fovea_api_requests_total{route="/v1/jobs",method="other",status="4xx"}"#,
            1,
        ),
        (
            r#"fovea_api_request_duration_seconds_count{route="/v1/jobs",method="POST"}"#,
            1,
        ),
        (
            r#"fovea_api_store_requests_total{method="PUT",outcome="2xx"}"#,
            1,
        ),
        (
            r#"fovea_api_cluster_requests_total{resource="inferencejobs",method="POST",outcome="2xx"}"#,
            1,
        ),
        ("fovea_api_upload_bytes_total", length),
        ("fovea_api_requests_under_way", 1),
    ] {
        assert_eq!(api.metric(line).await?, count, "{line}");
    }
    assert!(api.metric("fovea_api_connections").await? >= 1);
    let text = api.get("/metrics").await?.body;
    let text = text.as_str().unwrap_or_default();
    assert!(!text.contains("secret-"), "{text}");
    let no_error = r#"fovea_api_requests_total{route="/v1/jobs",method="POST",status="5xx"} 0"#;
    assert!(text.contains(no_error), "{text}");
    Ok(())
}

#[tokio::test]
async fn metrics_with_their_own_address_are_served_only_there() -> anyhow::Result<()> {
    let api = Service::start(&["--metrics-listen", "127.0.0.1:0"]).await?;
    assert_eq!(api.get("/metrics").await?.problem(), "no-such-route");
    let log = std::fs::read_to_string(api.process.log_path())?;
    let line = log.lines().find(|line| line.contains("metrics are here"));
    let address = line
        .and_then(|line| line.split_once("address="))
        .map(|(_, rest)| rest.trim());
    let address = address.unwrap_or_default();
    let answer = send(api.http.get(format!("http://{address}/metrics"))).await?;
    assert_eq!(answer.status, 200);
    assert!(answer.body.to_string().contains("fovea_api_connections"));
    assert_eq!(
        send(api.http.get(format!("http://{address}/v1/jobs/a")))
            .await?
            .status,
        404
    );
    Ok(())
}

#[tokio::test]
async fn a_job_has_the_trace_of_the_request_that_created_it() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let joined = traceparent(&api, api.post(jpeg(61)).header("traceparent", CALLER)).await?;
    assert!(
        joined.starts_with(&format!("00-{TRACE}-")) && joined.ends_with("-01"),
        "{joined}"
    );
    assert!(!joined.contains("00f067aa0ba902b7"), "{joined}");
    let begun = traceparent(&api, api.post(jpeg(61))).await?;
    assert!(
        begun.len() == CALLER.len() && !begun.contains(TRACE),
        "{begun}"
    );
    let wrong = traceparent(&api, api.post(jpeg(61)).header("traceparent", "00-zz")).await?;
    assert!(wrong.len() == CALLER.len() && wrong != begun, "{wrong}");
    Ok(())
}

/// The sampler keeps no trace that begins here.
#[tokio::test]
async fn a_stranger_s_traceparent_does_not_force_its_trace_to_be_recorded() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    super::harness::cluster().await?;
    for (flags, sampled) in [(&[][..], "-00"), (&["--trust-traceparent"], "-01")] {
        let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_always_off".to_owned());
        let surroundings = Surroundings {
            env: vec![collector.env.clone(), sampler],
            ..Surroundings::shared().await?
        };
        let api = Service::start_in(surroundings, flags).await?;
        let joined = traceparent(&api, api.post(jpeg(63)).header("traceparent", CALLER)).await?;
        assert!(
            joined.starts_with(&format!("00-{TRACE}-")) && joined.ends_with(sampled),
            "{flags:?}: {joined}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn spans_are_exported_to_the_configured_collector_until_the_end() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    super::harness::cluster().await?;
    let surroundings = Surroundings {
        env: vec![collector.env.clone()],
        ..Surroundings::shared().await?
    };
    let api = Service::start_in(surroundings, &[]).await?;
    let joined = traceparent(&api, api.post(jpeg(62)).header("traceparent", CALLER)).await?;
    let span = hex::decode(&joined[36..52])?;
    let process = api.process;
    assert!(process.terminate().await?.success());
    until("the span that the job names", || async {
        for bytes in [&span[..], b"POST /v1/jobs", b"fovea-api"] {
            anyhow::ensure!(collector.has(bytes), "not yet");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_unreachable_collector_is_logged_and_delays_neither_jobs_nor_shutdown()
-> anyhow::Result<()> {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    super::harness::cluster().await?;
    let surroundings = Surroundings {
        env: vec![("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{closed}"))],
        ..Surroundings::shared().await?
    };
    let api = Service::start_in(surroundings, &[]).await?;
    send(api.post(jpeg(63))).await?.id()?;
    assert!(api.process.terminate().await?.success());
    let log = std::fs::read_to_string(api.process.log_path())?;
    assert!(
        log.contains("opentelemetry") && log.contains("stopped"),
        "{log}"
    );
    Ok(())
}
