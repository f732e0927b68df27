//! What must be taken: the bounds themselves, and forms that a strict rule could catch by mistake.

use crate::fixture::{Fixture, job, pool, set};
use anyhow::{Context, Result};
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_at_its_bounds_is_taken() -> Result<()> {
    let key = |text: &str| vec![("spec.input.object.key", json!(text))];
    all_taken(
        job("legal"),
        vec![
            vec![],
            key("a"),
            key(".hidden"),
            key("a.b/.c/d.e"),
            key("…/Schöne Katze (1).jpg"),
            key(&"k".repeat(512)),
            vec![(
                "spec.input",
                json!({"upload": {"sha256": "0123456789abcdef".repeat(4)}}),
            )],
            vec![("spec.input", json!({"inline": {"data": "/+8="}}))],
            vec![("spec.input", json!({"inline": {"data": "/w=="}}))],
            vec![("spec.input", json!({"inline": {"data": "////"}}))],
            vec![("spec.model", json!("m".repeat(63)))],
            vec![(
                "spec.poolRef",
                json!({"name": "my.pool-1", "namespace": "gpu-1"}),
            )],
            vec![("spec.parameters", json!({}))],
            vec![(
                "spec.parameters",
                json!({"maxNewTokens": 512, "numBeams": 10, "prompt": "ü".repeat(512)}),
            )],
            vec![
                ("spec.task", json!("image-classification")),
                ("spec.parameters.topK", json!(1000)),
            ],
            vec![
                ("spec.task", json!("object-detection")),
                ("spec.parameters.scoreThresholdPermille", json!(0)),
            ],
            vec![("spec.priority", json!(-1000))],
            vec![("spec.priority", json!(1000))],
            vec![(
                "spec.retry",
                json!({"limit": 0, "initialDelaySeconds": 1, "maxDelaySeconds": 1}),
            )],
            vec![(
                "spec.retry",
                json!({"limit": 10, "initialDelaySeconds": 600}),
            )],
            vec![("spec.ttlSecondsAfterFinished", json!(0))],
            vec![("spec.activeDeadlineSeconds", json!(1))],
            vec![("spec.suspend", json!(true)), ("spec.cancel", json!(true))],
            vec![("spec.managedBy", json!("kueue.x-k8s.io/multikueue"))],
            vec![("spec.managedBy", json!("a.b/c%20~!$&'()*+,;=:@"))],
            vec![("spec.callback", json!({"url": "https://example.com"}))],
            vec![(
                "spec.callback",
                json!({"url": "https://a-b.example.com:8443/hook/@me?x=1&y=%20"}),
            )],
            vec![(
                "spec.callback",
                json!({"url": "https://[2001:db8::1]:443/"}),
            )],
            vec![("spec.callback", json!({"url": "https://example.com?x"}))],
            vec![(
                "spec.callback",
                json!({"url": format!("https://a/{}", "b".repeat(2038))}),
            )],
        ],
    )
    .await
}

#[tokio::test]
async fn a_batch_at_its_bounds_is_taken() -> Result<()> {
    let batch =
        |input, output: &str| vec![("spec.input", input), ("spec.output.prefix", json!(output))];
    let prefix = |prefix: &str| json!({"prefix": {"prefix": prefix}});
    let cats = || batch(prefix("cats"), "out");
    let with = |path, value| [cats(), vec![(path, value)]].concat();
    let patterns = vec!["**/*.jpg".repeat(32); 16];
    all_taken(
        job("legal"),
        vec![
            cats(),
            batch(json!({"manifest": {"key": "lists/1.csv.gz"}}), "lists"),
            batch(
                json!({"archives": {"prefix": "tars/train"}}),
                "tars/train-out",
            ),
            // Names that merely begin alike, and a folder above the input.
            batch(prefix("cats"), "cats-out"),
            batch(prefix("cats"), "ca"),
            batch(prefix("cats/2026"), "cats"),
            batch(prefix(&"k".repeat(512)), &"k".repeat(511)),
            batch(prefix("cats"), &"字".repeat(266)),
            with("spec.output.format", json!("jsonl")),
            with("spec.output.format", json!("csv")),
            with("spec.output.format", json!("parquet")),
            with("spec.input.prefix.include", json!(["*.jpg", "2026/**"])),
            with("spec.input.prefix.include", json!(patterns)),
            with("spec.input.prefix.exclude", json!(patterns)),
            with("spec.parallelism", json!(0)),
            with("spec.parallelism", json!(10_000)),
            with("spec.maxFailedPermille", json!(0)),
            with("spec.maxFailedPermille", json!(1000)),
            with("spec.reuse", json!(true)),
        ],
    )
    .await
}

#[tokio::test]
async fn a_pool_at_its_bounds_is_taken() -> Result<()> {
    let endpoints = |urls: &[&str]| vec![("spec.external.endpoints", json!(urls))];
    let source = |value| vec![("spec.models[0].source", value)];
    let commit = "82a37760796d32b1411fe092ab5d4e227313294b";
    all_taken(
        pool("legal"),
        vec![
            vec![],
            source(json!({"huggingFace": {"repo": "gpt2"}})),
            source(json!({"huggingFace": {"repo": "a/b.c_d-e", "revision": commit, "tokenSecretRef": {"name": "hub"}}})),
            source(json!({"huggingFace": {"repo": "a/b", "revision": "refs/pr/1"}})),
            vec![
                ("spec.models[0].source", json!({"volume": {"path": "blip/base"}})),
                ("spec.template.cacheVolume", json!({"persistentVolumeClaim": {"claimName": "weights"}})),
            ],
            source(json!({"image": {"reference": format!("registry/{}@sha256:{}", "m".repeat(432), "a".repeat(63))}})),
            source(json!({"image": {"reference": "m", "pullPolicy": "Never", "path": "a/b"}})),
            vec![(
                "spec.models",
                json!([
                    {"name": "a", "task": "image-to-text", "default": true, "source": {"object": {"prefix": "a"}}},
                    {"name": "b", "task": "image-to-text", "source": {"object": {"prefix": "b"}}},
                    {"name": "c", "task": "object-detection", "default": true, "source": {"object": {"prefix": "c"}}},
                ]),
            )],
            vec![("spec.replicas", json!(0))],
            vec![("spec.autoscaling", json!({"min": 0, "max": 1000}))],
            endpoints(&["https://gpu-1.example.com", "https://gpu-1.example.com:8443"]),
            endpoints(&["https://10.0.0.7:65535", "https://[2001:db8::7]:8443"]),
            endpoints(&["http://localhost", "http://127.0.0.1:8001", "http://[::1]:8001"]),
            vec![
                ("spec.models", json!([{"name": "a", "task": "image-to-text"}])),
                ("spec.external.endpoints", json!(["https://a"])),
            ],
            vec![("spec.allowedNamespaces", json!({"from": "All"}))],
            vec![("spec.allowedNamespaces", json!({"from": "Selector", "selector": {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}}))],
            vec![("spec.fairness", json!({"weights": {"team-a": 1, "team-b": 1000}, "maxInFlight": 10000}))],
            vec![("spec.template", json!({
                "image": "registry.example.com/runner:1",
                "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "16Gi"}},
                "nodeSelector": {"gpu": "h100"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}},
                ]}},
                "runtimeClassName": "nvidia",
                "priorityClassName": "gpu",
                "cacheVolume": {"emptyDir": {"sizeLimit": "20Gi"}},
                "env": [{"name": "RUST_LOG", "value": "debug"}, {"name": "EMPTY"}],
            }))],
            vec![("spec.template", json!({
                "labels": metadata("kueue.x-k8s.io/queue", &"v".repeat(63)),
                "annotations": metadata("example.com/note", &"…".repeat(2048)),
                "imagePullSecrets": numbered(16, &|name| json!({"name": name})),
                "schedulerName": "Volcano_2",
                "resources": {"claims": numbered(32, &|name| json!({"name": name, "request": "r"}))},
                "resourceClaims": numbered(32, &|name| json!({"name": name, "resourceClaimTemplateName": "a.b-c"})),
            }))],
            vec![("spec.template", json!({
                "labels": {"team": "", "fovea.devil/a": "b", "a.b/C_d.e-f": "G_h.i-j"},
                "annotations": {"pod-template-hash": "any text\n", "kubectl.kubernetes.io/restartedAt": "now"},
                "resourceClaims": [{"name": "a", "resourceClaimName": "shared"}],
            }))],
        ],
    )
    .await
}

/// As many labels or annotations as a template may have.
fn metadata(key: &str, value: &str) -> Value {
    let each = (0..64).map(|number| (format!("{key}-{number}"), json!(value)));
    Value::Object(each.collect())
}

fn numbered(count: usize, item: &dyn Fn(String) -> Value) -> Vec<Value> {
    (0..count)
        .map(|number| item(format!("n{number}")))
        .collect()
}

#[tokio::test]
async fn null_means_omitted() -> Result<()> {
    let fixture = Fixture::new().await?;
    for (base, paths) in [
        (
            job("null"),
            &[
                "spec.model",
                "spec.parameters",
                "spec.priority",
                "spec.retry",
            ][..],
        ),
        (
            pool("null"),
            &["spec.external", "spec.autoscaling", "spec.device"][..],
        ),
    ] {
        let left_out = fixture.dry_run(&base).await.map_err(refused)?;
        for path in paths {
            let mut object = base.clone();
            set(&mut object, path, json!(null));
            let stored = fixture.dry_run(&object).await.map_err(refused)?;
            assert_eq!(stored["spec"], left_out["spec"], "{path}");
        }
    }
    Ok(())
}

fn refused(status: Box<kube::core::Status>) -> anyhow::Error {
    anyhow::anyhow!(status.message)
}

async fn all_taken(base: Value, rows: Vec<Vec<(&'static str, Value)>>) -> Result<()> {
    let fixture = Fixture::new().await?;
    for edits in rows {
        let mut object = base.clone();
        for (path, value) in &edits {
            set(&mut object, path, value.clone());
        }
        let fields: Vec<&str> = edits.iter().map(|(path, _)| *path).collect();
        let taken = fixture.dry_run(&object).await.map_err(refused);
        taken.with_context(|| format!("{fields:?}"))?;
    }
    Ok(())
}
