//! Plans and outputs on a real MinIO.

mod output;

use super::above::check_output;
use super::finish::{finish, probe};
use super::plan::{self, Batch, Plan, PlanError, PlanItem, PlanOf};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use fovea_crds::{Failure, Input, Output, OutputFormat};
use fovea_harness::Minio;
use fovea_protocol::Task;
use fovea_store::{Formatted, ObjectKey, PartMetadata, PartName, Store, StoreConfig, StoreError};
use fovea_tests::s3_answers::Way;
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
    let rule = bucket.rule(Verdict::Change(Way::Truncate), lists_further);
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
async fn a_list_that_repeats_a_picture_leaves_no_plan_and_order_does_not_matter() {
    let bucket = Bucket::start().await;
    let keys: Vec<_> = (0..1100).map(|at| format!("in/{at:04}.jpg")).collect();
    bucket.put_all(keys.iter().cloned()).await;
    let input = prefix("in", &[], &[]);
    let rule = bucket.rule(Verdict::Change(Way::Repeat), |_| true);
    let repeated = bucket.make(&input).await;
    let error = match repeated {
        Err(PlanError::Store(error @ StoreError::List(_))) => error.to_string(),
        repeated => panic!("{repeated:?}"),
    };
    assert!(error.contains("in/0999.jpg\" twice"), "{error}");
    bucket.proxy.lift(&rule);
    bucket.rule(Verdict::Change(Way::Reverse), |_| true);
    let plan = bucket.make(&input).await.unwrap();
    let items = bucket.items(&plan).await;
    let mut planned: Vec<_> = items.into_iter().map(|item| item.key).collect();
    assert_ne!(planned, keys);
    planned.sort_unstable();
    assert_eq!(planned, keys);
}

#[tokio::test]
async fn an_object_that_is_named_like_a_folder_is_in_the_way_of_what_is_below() {
    let bucket = Bucket::start().await;
    for key in ["cats", "cats/a.jpg", "dogs/a.jpg"] {
        bucket.put(key, "x").await;
    }
    let input = prefix("cats", &[], &[]);
    let Failure { message, .. } = failure(bucket.make(&input).await);
    assert!(message.contains("data/ns/cats is an object"), "{message}");
    for (output, is_refused) in [("cats", true), ("cats/out", true), ("dogs/out", false)] {
        let checked = check_output(&bucket.store, "ns", output).await.unwrap();
        let reason = checked.err().map(|failure| failure.reason);
        assert_eq!(reason.is_some(), is_refused, "{output}: {reason:?}");
    }
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
