//! What the store crate makes of stores that are not like MinIO: probes, lists and reads of a real MinIO behind a
//! proxy that changes its answers.

use fovea_harness::Minio;
use fovea_store::{
    DataObject, ObjectKey, Owned, Part, ProbeError, Store, StoreConfig, StoreError, StoreFault,
};
use fovea_tests::s3_answers::{Stranger, Way};
use fovea_tests::s3_proxy::{Rule, S3Proxy, Verdict};
use http::request::Parts;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const UID: &str = "0b9b0d1e-5f5c-4d2c-9b57-6d8a3f1c2e4d";
const BUCKET: &str = "fovea";

/// A bucket, seen through a proxy.
struct Bucket {
    store: Store,
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

    /// Answers what `matches` with this verdict, at most so many times.
    fn rule(&self, verdict: Verdict, times: usize, matches: fn(&Parts) -> bool) -> Rule {
        let count = AtomicUsize::new(0);
        self.proxy.rule(Arc::new(move |request| {
            let hit = matches(request) && count.fetch_add(1, Ordering::Relaxed) < times;
            let verdict = if hit { verdict.clone() } else { Verdict::Pass };
            Box::pin(async move { verdict })
        }))
    }

    fn always(&self, verdict: Verdict) -> Rule {
        self.rule(verdict, usize::MAX, |_| true)
    }

    async fn put(&self, key: &str, body: &'static str) -> ObjectKey {
        let key = ObjectKey::data("ns", key).unwrap();
        let put = self.direct.put(&key, body.into(), "text/plain");
        put.await.unwrap();
        key
    }

    async fn probe(&self) -> Result<(), ProbeError> {
        self.store.probe(&uuid::Uuid::new_v4().to_string()).await
    }

    /// The keys of a user's folder, sorted.
    async fn listed(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let mut pages = self.store.list_data("ns", folder)?;
        let mut keys = Vec::new();
        while let Some(objects) = pages.next().await? {
            keys.extend(objects.into_iter().map(|DataObject { key, .. }| key));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    async fn is_clean(&self) -> bool {
        let page = self.direct.list(Part::System, None, None).await.unwrap();
        page.objects.is_empty()
    }
}

fn is_put(request: &Parts) -> bool {
    request.method == "PUT"
}

fn is_list(request: &Parts) -> bool {
    let query = request.uri.query().unwrap_or_default();
    query.contains("list-type=2")
}

fn reads(request: &Parts) -> bool {
    request.method == "GET" && !is_list(request)
}

fn fault(probed: Result<(), ProbeError>) -> StoreFault {
    match probed {
        Err(ProbeError::Fault(fault)) => fault,
        probed => panic!("{probed:?}"),
    }
}

#[tokio::test]
async fn a_store_passes_however_it_encodes_and_orders_keys_and_nothing_stays() {
    let bucket = Bucket::start().await;
    bucket.probe().await.unwrap();
    for ways in [
        &[Way::Encode][..],
        &[Way::Plain],
        &[Way::Reverse],
        &[Way::Encode, Way::Reverse],
    ] {
        let rules: Vec<_> = (ways.iter())
            .map(|way| bucket.always(Verdict::Change(*way)))
            .collect();
        bucket.probe().await.unwrap();
        for rule in rules {
            bucket.proxy.lift(&rule);
        }
    }
    assert!(bucket.is_clean().await);
}

#[tokio::test]
async fn lists_that_lose_or_repeat_keys_are_told_from_lost_writes() {
    let bucket = Bucket::start().await;
    for (way, part) in [(Way::Lose, "leave out"), (Way::Repeat, "repeat")] {
        let rule = bucket.always(Verdict::Change(way));
        match fault(bucket.probe().await) {
            StoreFault::Lists(what) => assert!(what.contains(part), "{way:?}: {what}"),
            StoreFault::Writes(what) => panic!("{way:?}: {what}"),
        }
        bucket.proxy.lift(&rule);
    }
    let rule = bucket.rule(Verdict::Answer(Stranger::Swallows), usize::MAX, is_put);
    let lost = fault(bucket.probe().await);
    assert!(matches!(lost, StoreFault::Writes(_)), "{lost}");
    assert!(lost.to_string().contains("no such object"), "{lost}");
    bucket.proxy.lift(&rule);
    // An outage is no fault.
    let rule = bucket.always(Verdict::Fail(503));
    let down = bucket.probe().await;
    assert!(matches!(down, Err(ProbeError::Store(_))), "{down:?}");
    bucket.proxy.lift(&rule);
    bucket.probe().await.unwrap();
    assert!(bucket.is_clean().await);
}

#[tokio::test]
async fn a_web_page_in_place_of_a_store_is_named_at_the_first_request_of_any_kind() {
    let bucket = Bucket::start().await;
    let key = bucket.put("a.jpg", "picture").await;
    for (stranger, part) in [
        (Stranger::Page, "200, text/html"),
        (
            Stranger::Redirects,
            "302, a redirection to https://login.test/oauth",
        ),
    ] {
        let rule = bucket.always(Verdict::Answer(stranger));
        let store = &bucket.store;
        let errors = [
            store.check().await.unwrap_err(),
            store.put(&key, "x".into(), "a/b").await.unwrap_err(),
            store.get(&key, 1000).await.unwrap_err(),
            store.delete(&key).await.unwrap_err(),
            bucket.listed("x").await.unwrap_err(),
        ];
        for error in errors {
            let text = error.to_string();
            assert!(matches!(error, StoreError::NotS3(_)), "{text}");
            assert!(
                text.contains(part) && text.contains("--s3-endpoint"),
                "{text}"
            );
            assert!(!text.contains("secret") && !error.is_refusal(), "{text}");
        }
        let probed = bucket.probe().await;
        let is_named = matches!(probed, Err(ProbeError::Store(StoreError::NotS3(_))));
        assert!(is_named, "{probed:?}");
        bucket.proxy.lift(&rule);
    }
    assert_eq!(bucket.store.get(&key, 1000).await.unwrap(), "picture");
    // A page that a user has stored is an object.
    let page = bucket.put("page", fovea_tests::s3_answers::LOGIN).await;
    bucket.store.get(&page, 1000).await.unwrap();
}

#[tokio::test]
async fn keys_are_listed_as_they_were_written_by_stores_of_every_way() {
    let bucket = Bucket::start().await;
    let mut written: Vec<String> = ["a b/c+d.jpg", "ü/100 & <more>.jpg", "plain.jpg"]
        .map(|name| format!("in here/{name}"))
        .into();
    written.sort_unstable();
    for key in &written {
        bucket.put(key, "x").await;
    }
    let own = ObjectKey::system(UID, "parts/000000.0-9.end.jsonl").unwrap();
    let put = bucket.direct.put(&own, "x".into(), "text/plain");
    put.await.unwrap();
    for way in [Way::Encode, Way::Plain, Way::Reverse] {
        let rule = bucket.always(Verdict::Change(way));
        assert_eq!(bucket.listed("in here").await.unwrap(), written, "{way:?}");
        assert_eq!(bucket.store.data_namespaces().await.unwrap(), ["ns"]);
        let page = bucket.store.list(Part::System, None, None).await.unwrap();
        let owned = page.objects.into_iter().map(|listed| listed.object);
        let by_job = Owned::ByJob {
            uid: UID.to_owned(),
        };
        assert_eq!(owned.collect::<Vec<_>>(), [Some((own.clone(), by_job))]);
        assert_eq!(bucket.store.parts(UID).await.unwrap().len(), 1, "{way:?}");
        bucket.proxy.lift(&rule);
    }
}

#[tokio::test]
async fn what_breaks_off_is_read_again_and_never_taken_for_the_whole() {
    let bucket = Bucket::start().await;
    let key = bucket.put("a.jsonl", "line 1\nline 2\n").await;
    let store = &bucket.store;
    let streamed = async || -> Result<usize, StoreError> {
        let mut reader = store.open(&key).await?;
        let mut bytes = 0;
        while let Some(piece) = reader.next().await {
            bytes += piece?.len();
        }
        Ok(bytes)
    };
    let pieces = async || -> Result<usize, StoreError> {
        let mut pieces = store.open_in_pieces(&key).await?;
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            bytes += piece?.len();
        }
        Ok(bytes)
    };
    let cut = Verdict::Change(Way::Cut);
    let rule = bucket.rule(cut.clone(), 2, reads);
    assert_eq!(store.get(&key, 1000).await.unwrap().len(), 14);
    bucket.proxy.lift(&rule);
    let rule = bucket.rule(cut.clone(), 2, reads);
    assert_eq!(pieces().await.unwrap(), 14);
    bucket.proxy.lift(&rule);

    let rule = bucket.rule(cut, usize::MAX, reads);
    for error in [
        store.get(&key, 1000).await.unwrap_err(),
        store.range(&key, 0, 10).await.unwrap_err(),
        streamed().await.unwrap_err(),
        pieces().await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Broken { .. }), "{text}");
        assert!(
            text.contains("data/ns/a.jsonl") && !error.is_refusal(),
            "{text}"
        );
    }
    bucket.proxy.lift(&rule);
    assert_eq!(streamed().await.unwrap(), 14);

    // A list that breaks off between two objects.
    let rule = bucket.rule(Verdict::Change(Way::CutXml), usize::MAX, is_list);
    let error = bucket.store.check().await.unwrap_err().to_string();
    assert!(error.contains("breaks off"), "{error}");
    bucket.proxy.lift(&rule);
}
