//! Prometheus scrapes what monitors name, and evaluates rules.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fovea_harness::prometheus::{self, Prometheus, PrometheusOptions};
use fovea_harness::{eventually, images, with_temp_ns};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;

use crate::shared::shared;
use crate::support::{LONG, create, pod, ready, runs};

/// Serves one metric.
const METRICS: &str = r#"exec perl -MIO::Socket::INET -e '
    my $server = IO::Socket::INET->new(LocalPort => 9100, Listen => 5, ReuseAddr => 1) or die;
    my $body = "shapes_seen 7\n";
    while (my $client = $server->accept) {
        while (<$client>) { last if /^\s*$/ }
        print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n",
            "Content-Length: ", length $body, "\r\nConnection: close\r\n\r\n$body";
        close $client;
    }'"#;

#[tokio::test]
async fn what_a_service_and_a_pod_monitor_name_is_scraped_and_a_rule_fires() -> Result<()> {
    if !runs("what_a_service_and_a_pod_monitor_name_is_scraped_and_a_rule_fires") {
        return Ok(());
    }
    let cluster = shared().await?;
    let plane = &cluster.control_plane;
    prometheus::install_definitions(plane).await?;
    with_temp_ns(&plane.config().await?, async |client, namespace| {
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let mut server = pod("server", images::DEBIAN, Some(METRICS));
        let port = json!({"name": "metrics", "containerPort": 9100});
        server["spec"]["containers"][0]["ports"] = json!([port]);
        create(&pods, server).await?;
        let labels = json!({"app": "server"});
        let kind = "monitoring.coreos.com/v1";
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shapes", "labels": labels},
                "spec": {"selector": labels, "ports": [
                    {"name": "metrics", "port": 9100}, {"name": "other", "port": 9101},
                ]},
            },
            {
                "apiVersion": kind, "kind": "ServiceMonitor", "metadata": {"name": "shapes"},
                "spec": {"selector": {"matchLabels": labels}, "endpoints": [{"port": "metrics"}]},
            },
            {
                "apiVersion": kind, "kind": "PodMonitor", "metadata": {"name": "shapes"},
                "spec": {
                    "selector": {"matchLabels": labels}, "podTargetLabels": ["app"],
                    "podMetricsEndpoints": [{"port": "metrics"}],
                },
            },
            {
                "apiVersion": kind, "kind": "PrometheusRule", "metadata": {"name": "shapes"},
                "spec": {"groups": [{"name": "shapes", "rules": [{
                    "alert": "ShapesSeen", "expr": "sum by (job) (shapes_seen) > 6",
                    "annotations": {"summary": "{{ $value }} shapes"},
                }]}]},
            },
        ]});
        let within = format!("-n {namespace}");
        plane.kubectl_apply(&within, &objects.to_string()).await?;
        ready(&pods, "server").await?;

        let interval = Some(Duration::from_secs(1));
        let options = PrometheusOptions {
            scrape_configs: prometheus::scrape_configs(plane, interval).await?,
            rules: prometheus::rules(plane).await?,
            interval,
        };
        for rules in &options.rules {
            prometheus::check_rules(rules).await?;
        }
        let broken = json!({"groups": [{"name": "broken", "rules": [{"alert": "Broken", "expr": "sum("}]}]});
        ensure!(prometheus::check_rules(&broken).await.is_err());
        let prometheus = Prometheus::start(&options).await?;
        let firing = eventually("both jobs' alerts", LONG, async || {
            let targets = prometheus.targets().await?;
            let mut alerts = prometheus.alerts().await?;
            alerts.retain(|alert| alert.state == "firing");
            alerts.sort_by_key(|alert| alert.labels["job"].clone());
            ensure!(alerts.len() == 2, "{alerts:?}\n{targets:#?}");
            Ok(alerts)
        })
        .await?;
        let of_pods = format!("{namespace}/shapes");
        let jobs: Vec<_> = firing.iter().map(|alert| &alert.labels["job"]).collect();
        ensure!(jobs == [&of_pods, "shapes"], "{jobs:?}");
        ensure!(firing[0].name() == "ShapesSeen");
        ensure!(firing[0].annotations["summary"] == "7 shapes");
        let query = format!("shapes_seen{{job=\"{of_pods}\", app=\"server\", pod=\"server\"}}");
        let found = prometheus.query(&query).await?;
        ensure!(found.len() == 1 && found[0].value > 6.5, "{found:?}");
        let rules = prometheus.rules().await?;
        ensure!(rules.iter().all(|rule| rule.health == "ok"), "{rules:?}");
        ensure!(prometheus.targets().await?.len() == 2, "the other port is no target");

        let error = prometheus.query("sum(").await.err().context("no error")?;
        ensure!(error.to_string().contains("parse error"), "{error}");
        prometheus.reload(&PrometheusOptions::default()).await?;
        eventually("no target any more", LONG, async || {
            let targets = prometheus.targets().await?;
            ensure!(targets.is_empty(), "{targets:?}");
            Ok(())
        })
        .await?;
        Ok(prometheus.stop().await?)
    })
    .await?
}

#[tokio::test]
async fn promtool_reports_the_alerts_of_a_synthetic_series() -> Result<()> {
    if !runs("promtool_reports_the_alerts_of_a_synthetic_series") {
        return Ok(());
    }
    let rules = json!({"groups": [{"name": "shapes", "rules": [
        {"alert": "ShapesSeen", "expr": "shapes_seen > 6", "for": "2m"},
    ]}]});
    prometheus::check_rules(&rules).await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rules.json"), rules.to_string())?;
    for (minute, passes) in [("3m", true), ("1m", false)] {
        let tests = json!({"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": [{
            "interval": "1m",
            "input_series": [{"series": "shapes_seen", "values": "7x5"}],
            "alert_rule_test": [
                {"eval_time": minute, "alertname": "ShapesSeen", "exp_alerts": [{"exp_labels": {}}]},
            ],
        }]});
        let path = folder.path().join("tests.json");
        std::fs::write(&path, tests.to_string())?;
        let result = prometheus::test_rules(&path).await;
        ensure!(result.is_ok() == passes, "after {minute}: {result:?}");
    }
    Ok(())
}
