//! Plans and outputs on a real MinIO.

use super::finish::{finish, probe};
use super::plan::{self, Batch, Plan, PlanError, PlanItem, PlanOf};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use fovea_crds::{Failure, Input, Output, OutputFormat};
use fovea_harness::Minio;
use fovea_protocol::Task;
use fovea_store::{Formatted, ObjectKey, PartMetadata, PartName, Store, StoreConfig, StoreError};
use fovea_tests::s3_proxy::{Rule, S3Proxy, Verdict};
use futures::{StreamExt as _, stream};
use http::request::Parts;
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::Arc;

const UID: &str = "0b9b0d1e-5f5c-4d2c-9b57-6d8a3f1c2e4d";
const BUCKET: &str = "fovea";

/// A bucket, seen through a proxy.
struct Bucket {
    store: Store,
    /// Past the proxy, which is slow.
    direct: Store,
    proxy: S3Proxy,
    _minio: Minio,
}

impl Bucket {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let minio = Minio::start().await.unwrap();
        minio.create_bucket(BUCKET).unwrap();
        let proxy = S3Proxy::start(None).await.unwrap();
        proxy.target(minio.endpoint());
        let connect = async |url: &str| {
            let config = StoreConfig::at(url.parse().unwrap(), BUCKET);
            let (key, secret) = (minio.access_key(), minio.secret_key());
            Store::connect_as(&config, key, secret).await.unwrap()
        };
        Self {
            store: connect(&proxy.url).await,
            direct: connect(minio.endpoint()).await,
            proxy,
            _minio: minio,
        }
    }

    /// Answers the requests that `matches` with `verdict`.
    fn rule(&self, verdict: Verdict, matches: fn(&Parts) -> bool) -> Rule {
        self.proxy.rule(Arc::new(move |request| {
            let verdict = if matches(request) {
                verdict.clone()
            } else {
                Verdict::Pass
            };
            Box::pin(async move { verdict })
        }))
    }

    async fn put(&self, key: &str, body: impl Into<Bytes>) {
        let key = ObjectKey::data("ns", key).unwrap();
        let put = self.direct.put(&key, body.into(), "text/plain");
        put.await.unwrap();
    }

    async fn put_all(&self, keys: impl Iterator<Item = String>) {
        let puts = keys.map(|key| async move { self.put(&key, key.clone()).await });
        stream::iter(puts)
            .buffer_unordered(32)
            .collect::<()>()
            .await;
    }

    async fn get(&self, key: &ObjectKey) -> Option<Bytes> {
        match self.store.get(key, 1 << 20).await {
            Ok(bytes) => Some(bytes),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => panic!("{key}: {error}"),
        }
    }

    async fn make(&self, input: &Input) -> Result<Plan, PlanError> {
        let output = output(OutputFormat::Jsonl);
        plan::make(&self.store, batch(input, &output), |_| ()).await
    }

    async fn items(&self, plan: &Plan) -> Vec<PlanItem> {
        let mut all = Vec::new();
        for shard in 0..plan.shards.len() {
            let shard = u32::try_from(shard).unwrap();
            all.extend(plan::items(&self.store, UID, plan, shard).await.unwrap());
        }
        all
    }

    /// Names in the output.
    async fn outputs(&self) -> Vec<String> {
        let mut pages = self.store.list_data("ns", &format!("out/{UID}")).unwrap();
        let mut names = Vec::new();
        while let Some(objects) = pages.next().await.unwrap() {
            let keys = objects.into_iter().map(|object| object.key);
            names.extend(keys.map(|key| key.rsplit('/').next().unwrap().to_owned()));
        }
        names
    }
}

fn output(format: OutputFormat) -> Output {
    let prefix = "out".to_owned();
    Output { prefix, format }
}

fn batch<'a>(input: &'a Input, output: &'a Output) -> Batch<'a> {
    Batch {
        uid: UID,
        namespace: "ns",
        name: "cats",
        task: Task::ImageToText,
        model: None,
        input,
        output,
    }
}

fn prefix(prefix: &str, include: &[&str], exclude: &[&str]) -> Input {
    let owned = |all: &[&str]| all.iter().map(|each| (*each).to_owned()).collect();
    Input::Prefix {
        prefix: prefix.to_owned(),
        include: owned(include),
        exclude: owned(exclude),
    }
}

fn manifest(key: &str) -> Input {
    let key = key.to_owned();
    Input::Manifest { key }
}

#[track_caller]
fn failure(planned: Result<Plan, PlanError>) -> Failure {
    match planned {
        Err(PlanError::Never(failure)) => failure,
        planned => panic!("{planned:?}"),
    }
}

fn lists_further(request: &Parts) -> bool {
    let query = request.uri.query().unwrap_or_default();
    query.contains("list-type") && query.contains("continuation-token")
}

#[tokio::test]
async fn a_prefix_is_planned_page_by_page_and_what_follows_changes_nothing() {
    let bucket = Bucket::start().await;
    let mut keys: Vec<_> = (0..2100).map(|at| format!("in/{at:04}.jpg")).collect();
    keys.push("in/z/ü + 100 & more?.PNG".to_owned());
    let others = [
        "in/readme.txt",
        "in/out/part-000000-0000000.csv",
        "inside.jpg",
        "in/z/no.gif",
    ];
    let others = others.map(str::to_owned).into_iter();
    bucket.put_all(keys.iter().cloned().chain(others)).await;

    // A list that breaks, or does not end, leaves no plan.
    let input = prefix("in", &[], &["z/no*"]);
    let rule = bucket.rule(Verdict::Fail(503), lists_further);
    let broken = bucket.make(&input).await;
    assert!(matches!(broken, Err(PlanError::Store(_))), "{broken:?}");
    bucket.proxy.lift(&rule);
    let rule = bucket.rule(Verdict::Truncate, lists_further);
    let endless = bucket.make(&input).await;
    assert!(matches!(endless, Err(PlanError::Store(_))), "{endless:?}");
    bucket.proxy.lift(&rule);
    assert_eq!(plan::read(&bucket.store, UID).await.unwrap(), None);

    let plan = bucket.make(&input).await.unwrap();
    let sizes: Vec<_> = plan.shards.iter().map(|shard| shard.items).collect();
    assert_eq!((sizes, plan.skipped), (vec![1000, 1000, 101], 2));
    assert_eq!((plan.of, plan.items()), (PlanOf::Pictures, 2101));
    let read = plan::read(&bucket.store, UID).await.unwrap();
    assert_eq!(read.as_ref(), Some(&plan));

    bucket.put("in/0000a.jpg", "late").await;
    let gone = ObjectKey::data("ns", "in/0001.jpg").unwrap();
    bucket.store.delete(&gone).await.unwrap();
    let items = bucket.items(&plan).await;
    let planned: Vec<_> = items.iter().map(|item| item.key.clone()).collect();
    assert_eq!(planned, keys);
    let bytes = |item: &PlanItem| item.bytes == Some(item.key.len() as u64);
    assert!(items.iter().all(|item| bytes(item) && item.error.is_none()));
    let bytes = plan.shards.iter().map(|shard| shard.bytes).sum::<u64>();
    let expected: u64 = keys.iter().map(|key| key.len() as u64).sum();
    assert_eq!(bytes, expected);
}

#[tokio::test]
async fn of_two_planners_at_once_both_read_the_same_plan() {
    let bucket = Bucket::start().await;
    let keys = (0..40).map(|at| format!("in/{at:04}.jpg"));
    bucket.put_all(keys).await;
    // What a planner left that died before its commit.
    let half = ObjectKey::plan_shard(UID, "half", 0).unwrap();
    let put = bucket.store.put(&half, "{".into(), "text/plain");
    put.await.unwrap();
    assert_eq!(plan::read(&bucket.store, UID).await.unwrap(), None);

    let input = prefix("in", &[], &[]);
    let (one, other) = tokio::join!(bucket.make(&input), bucket.make(&input));
    let plan = one.unwrap();
    assert_eq!(plan, other.unwrap());
    // A later one changes nothing either.
    bucket.put("in/later.jpg", "x").await;
    assert_eq!(plan, bucket.make(&input).await.unwrap());
    assert_eq!(bucket.items(&plan).await.len(), 40);
}

#[tokio::test]
async fn an_input_without_pictures_or_archives_fails_and_says_what_to_check() {
    let bucket = Bucket::start().await;
    let keys = [
        "in/a.txt",
        "in/b.jpg",
        "in/c.tar",
        "in/d.TAR",
        "in/e.tar.gz",
        "empty.jsonl",
    ];
    bucket.put_all(keys.map(str::to_owned).into_iter()).await;
    bucket.put("lines.jsonl", "\n \n").await;
    bucket.put("header.csv", "key,id\n").await;
    bucket.put("columns.csv", "key,size\n").await;
    bucket.put("plain.csv.gz", "key\n").await;
    let archives = |prefix: &str| Input::Archives {
        prefix: prefix.to_owned(),
    };
    for (input, reason, part) in [
        (
            prefix("no", &[], &[]),
            "NoPictures",
            "below data/ns/no/: 0 objects",
        ),
        (
            prefix("in", &["*.png"], &[]),
            "NoPictures",
            "4 objects there are not named",
        ),
        (
            prefix("in", &["*.png"], &[]),
            "NoPictures",
            "1 are left out",
        ),
        (prefix("in", &["[*.png"], &[]), "InvalidInput", "\"[*.png\""),
        (archives("no"), "NoArchives", "data/ns/no/"),
        (manifest("no.jsonl"), "ManifestNotFound", "data/ns/no.jsonl"),
        (manifest("lines.jsonl"), "NoPictures", "data/ns/lines.jsonl"),
        (manifest("header.csv"), "NoPictures", "data/ns/header.csv"),
        (
            manifest("columns.csv"),
            "InvalidManifest",
            "\"size\" is no column",
        ),
        (manifest("plain.csv.gz"), "InvalidManifest", "decompressed"),
    ] {
        let Failure {
            reason: found,
            message,
            ..
        } = failure(bucket.make(&input).await);
        assert_eq!(found, reason, "{message}");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(plan::read(&bucket.store, UID).await.unwrap(), None);

    let plan = bucket.make(&archives("in")).await.unwrap();
    assert_eq!(
        (plan.of, plan.skipped, plan.shards.len()),
        (PlanOf::Archives, 3, 2)
    );
    let items = bucket.items(&plan).await;
    let keys: Vec<_> = items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["in/c.tar", "in/d.TAR"]);
}

#[tokio::test]
async fn a_manifest_is_planned_with_its_bad_lines() {
    let bucket = Bucket::start().await;
    let mut text = Vec::new();
    for at in 0..2500 {
        let line = match at {
            100 => json!({"key": "../other/a.jpg"}),
            200 => json!({"key": "a.jpg", "parameters": {"topK": 5}}),
            300 => json!({"key": "a.jpg", "id": "300", "parameters": {"numBeams": 5}}),
            _ => json!({"key": format!("{at}.jpg")}),
        };
        writeln!(text, "{line}").unwrap();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&text).unwrap();
    bucket.put("list.jsonl.gz", encoder.finish().unwrap()).await;
    let plan = bucket.make(&manifest("list.jsonl.gz")).await.unwrap();
    let sizes: Vec<_> = plan.shards.iter().map(|shard| shard.items).collect();
    assert_eq!((sizes, plan.skipped), (vec![1000, 1000, 500], 0));
    let items = bucket.items(&plan).await;
    let failed = items.iter().enumerate().filter_map(|(at, item)| {
        let error = item.error.as_ref()?;
        Some((at, error.reason.as_str()))
    });
    let failed: Vec<_> = failed.collect();
    assert_eq!(failed, [(100, "InvalidKey"), (200, "InvalidParameters")]);
    let beams = items[300].parameters.as_ref().unwrap().num_beams;
    assert_eq!((items[300].id.as_deref(), beams), (Some("300"), Some(5)));
    assert_eq!(items[2499].key, "2499.jpg");
}

#[tokio::test]
async fn an_output_that_is_finished_twice_has_the_same_bytes() {
    let bucket = Bucket::start().await;
    let input = prefix("in", &[], &[]);
    bucket
        .put_all((0..9).map(|at| format!("in/{at}.jpg")))
        .await;
    let plan = bucket.make(&input).await.unwrap();
    let part = |name: &str, rows: u64| {
        let formatted = Formatted {
            name: format!("{name}.token.csv"),
            bytes: 7,
            sha256: "x".to_owned(),
        };
        let metadata = PartMetadata {
            succeeded: rows.saturating_sub(1),
            failed: rows.min(1),
            skipped: 0,
            bytes: 9,
            sha256: "y".to_owned(),
            formatted: Some(formatted),
        };
        (PartName::parse(name).unwrap(), metadata)
    };
    for name in [
        "000000.0-4",
        "000000.0-6",
        "000000.4-9.end",
        "000000.6-9.end",
    ] {
        let key = ObjectKey::formatted_part(UID, &format!("{name}.token.csv")).unwrap();
        let put = bucket.store.put(&key, name.to_owned().into(), "text/csv");
        put.await.unwrap();
    }
    let output = output(OutputFormat::Csv);
    let batch = batch(&input, &output);
    let first = [part("000000.0-4", 4), part("000000.4-9.end", 5)];
    let second = [part("000000.0-6", 6), part("000000.6-9.end", 3)];

    // A crash in the middle: one copy fails.
    let rule = bucket.rule(Verdict::Fail(403), |request| {
        request.uri.path().ends_with("part-000000-0000004.csv")
    });
    let crashed = finish(&bucket.store, batch, &plan, &first, true).await;
    assert!(crashed.is_err(), "{crashed:?}");
    bucket.proxy.lift(&rule);
    assert!(!bucket.outputs().await.contains(&"_SUCCESS.json".to_owned()));
    let done = finish(&bucket.store, batch, &plan, &first, true)
        .await
        .unwrap();
    assert_eq!(
        (done.prefix.as_str(), done.parts),
        (format!("out/{UID}").as_str(), 2)
    );
    let key = ObjectKey::output("ns", "out", UID, "_SUCCESS.json").unwrap();
    let success = bucket.get(&key).await.unwrap();
    let again = finish(&bucket.store, batch, &plan, &first, true)
        .await
        .unwrap();
    assert_eq!(again, done);
    assert_eq!(bucket.get(&key).await.unwrap(), success);
    let success: Value = serde_json::from_slice(&success).unwrap();
    let expected = json!({"total": 9, "succeeded": 7, "failed": 2, "skipped": 0});
    assert_eq!(success["totals"], expected);
    assert_eq!(success["format"], "csv");
    let rows: Vec<_> = success["parts"].as_array().unwrap().iter().collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1]["name"], "part-000000-0000004.csv");

    // Parts that came late take the place of the first ones.
    bucket
        .put(&format!("out/{UID}/notes.txt"), "the user's")
        .await;
    finish(&bucket.store, batch, &plan, &second, true)
        .await
        .unwrap();
    let names = [
        "_SUCCESS.json",
        "notes.txt",
        "part-000000-0000000.csv",
        "part-000000-0000006.csv",
    ];
    assert_eq!(bucket.outputs().await, names);
    let key = ObjectKey::output("ns", "out", UID, "part-000000-0000000.csv").unwrap();
    assert_eq!(bucket.get(&key).await.unwrap(), "000000.0-6");

    // A batch that ended early has no _SUCCESS.json.
    let ended = finish(&bucket.store, batch, &plan, &second[..1], false).await;
    assert_eq!(ended.unwrap().success_sha256, None);
    assert_eq!(
        bucket.outputs().await,
        ["notes.txt", "part-000000-0000000.csv"]
    );
}

#[tokio::test]
async fn a_store_that_does_not_honour_conditions_is_refused() {
    let bucket = Bucket::start().await;
    assert_eq!(probe(&bucket.store, UID).await.unwrap(), Ok(()));
    assert_eq!(probe(&bucket.store, UID).await.unwrap(), Ok(()));
    for (status, part) in [(200, "ignores the header"), (501, "rejects the header")] {
        let rule = bucket.rule(Verdict::Fail(status), |request| {
            request.headers.contains_key("if-none-match")
        });
        let refused = probe(&bucket.store, UID).await.unwrap().unwrap_err();
        assert_eq!(refused.reason, "ConditionalPutUnsupported");
        assert!(refused.message.contains(part), "{}", refused.message);
        bucket.proxy.lift(&rule);
    }
    bucket.rule(Verdict::Fail(503), |_| true);
    assert!(probe(&bucket.store, UID).await.is_err());
}
