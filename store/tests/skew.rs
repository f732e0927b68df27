//! A clock that differs from a real MinIO's: what is signed works all the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

use fovea_harness::Minio;
use fovea_store::{ModelPrefix, ObjectKey, Presentation, Store, StoreConfig, StoreError};
use reqwest::multipart::{Form, Part};
use std::time::{Duration, SystemTime};

/// More than the 15 minutes that stores allow.
const SKEW: Duration = Duration::from_mins(20);
/// Within them, and longer than a URL's life.
const DRIFT: Duration = Duration::from_mins(10);
const LIFETIME: Duration = Duration::from_mins(5);
const DAYS: Duration = Duration::from_hours(72);
const BUCKET: &str = "fovea";

/// A clock.
type Now = fn() -> SystemTime;

async fn minio() -> Minio {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let minio = Minio::start().await.unwrap();
    minio.create_bucket(BUCKET).unwrap();
    minio
}

async fn store(minio: &Minio, now: Now) -> Store {
    let mut config = StoreConfig::at(minio.endpoint().parse().unwrap(), BUCKET);
    config.public_endpoint = config.endpoint.clone();
    let (key, secret) = (minio.access_key(), minio.secret_key());
    let store = Store::connect_as_timed(&config, key, secret, now).await;
    store.unwrap()
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn fetched(url: &str) -> (u16, String) {
    let answer = http().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Uses everything that is signed, each in its own way.
async fn all_that_is_signed_works(store: &Store, name: &str) {
    let key = ObjectKey::data("ns", name).unwrap();
    let put = store
        .presign_put_if_absent(&key, 1, None, LIFETIME)
        .await
        .unwrap();
    let request = http().put(&put.url).body("x");
    let own = ["host", "content-length"];
    let headers = put.headers.iter();
    let headers = headers.filter(|(name, _)| !own.contains(&&*name.to_ascii_lowercase()));
    let request = headers.fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(status, 200, "{}", answer.text().await.unwrap());

    let presentation = Presentation {
        content_type: "text/plain",
        disposition: "attachment",
    };
    let public = store
        .presign_public_get(&key, LIFETIME, presentation)
        .await
        .unwrap();
    let signer = store.signer(LIFETIME).await.unwrap();
    for url in [
        store.presign_get(&key, LIFETIME).await.unwrap(),
        public.unwrap(),
        signer.get(&key).unwrap(),
    ] {
        assert_eq!(fetched(&url).await, (200, "x".to_owned()), "{url}");
    }

    let prefix = ModelPrefix::new("a", "b").unwrap();
    let form = store.presign_post(&prefix, 10, LIFETIME).await.unwrap();
    let mut body = Form::new().text("key", "models/a/b/c");
    for (name, value) in form.fields.iter().filter(|(name, _)| *name != "key") {
        body = body.text(name.clone(), value.clone());
    }
    let body = body.part("file", Part::bytes(b"0".to_vec()));
    let answer = http().post(&form.url).multipart(body).send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(status, 204, "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn what_a_clock_twenty_minutes_off_signs_is_accepted() {
    let minio = minio().await;
    let clocks: [(Now, f64, &str); 2] = [
        (|| SystemTime::now() + SKEW, 1200.0, "20 minutes ahead of"),
        (|| SystemTime::now() - SKEW, -1200.0, "20 minutes behind"),
    ];
    for (now, ahead_seconds, said) in clocks {
        let store = store(&minio, now).await;
        assert_eq!(store.clock_skew(), None, "nothing is known yet");
        // The first answer is a refusal; it says the time.
        store.check().await.unwrap();
        let skew = store.clock_skew().unwrap();
        assert!((skew.ahead_seconds - ahead_seconds).abs() < 5.0, "{skew:?}");
        assert!(skew.is_corrected());
        let text = skew.describe("our clock");
        assert!(text.contains(said), "{text}");
        all_that_is_signed_works(&store, said).await;
    }
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_the_store_still_accepts_is_corrected_before_short_lived_urls_suffer() {
    let minio = minio().await;
    let key = ObjectKey::data("ns", "a").unwrap();
    let behind = store(&minio, || SystemTime::now() - DRIFT).await;
    behind.put(&key, "x".into(), "text/plain").await.unwrap();
    // One answer may be anybody's, and moves nothing: the URL is too old.
    let url = behind.presign_get(&key, LIFETIME).await.unwrap();
    let (status, text) = fetched(&url).await;
    assert!(
        status == 403 && text.contains("Request has expired"),
        "{text}"
    );
    behind.check().await.unwrap();
    all_that_is_signed_works(&behind, "behind").await;
    let ahead = store(&minio, || SystemTime::now() + DRIFT).await;
    for _ in 0..2 {
        ahead.check().await.unwrap();
    }
    all_that_is_signed_works(&ahead, "ahead").await;
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn a_clock_days_off_is_named_and_its_urls_are_not_for_other_days() {
    let minio = minio().await;
    let store = store(&minio, || SystemTime::now() + DAYS).await;
    store.check().await.unwrap();
    let skew = store.clock_skew().unwrap();
    assert!(!skew.is_corrected(), "{skew:?}");
    let key = ObjectKey::data("ns", "a").unwrap();
    store.put(&key, "x".into(), "text/plain").await.unwrap();
    let url = store.presign_get(&key, LIFETIME).await.unwrap();
    let (status, text) = fetched(&url).await;
    assert!(
        status == 403 && text.contains("not valid yet"),
        "{status}: {text}"
    );
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn a_right_clock_is_left_alone() {
    let minio = minio().await;
    let store = store(&minio, SystemTime::now).await;
    for _ in 0..5 {
        store.check().await.unwrap();
        assert_eq!(store.clock_skew(), None);
    }
    all_that_is_signed_works(&store, "right").await;
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_second_try_the_skew_is_the_error_and_the_next_request_works() {
    let minio = minio().await;
    let mut config = StoreConfig::at(minio.endpoint().parse().unwrap(), BUCKET);
    config.max_attempts = 1;
    let (key, secret) = (minio.access_key(), minio.secret_key());
    let ahead = || SystemTime::now() + SKEW;
    let store = Store::connect_as_timed(&config, key, secret, ahead).await;
    let store = store.unwrap();
    let error = store.check().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::ClockSkew { .. }), "{text}");
    assert!(text.contains("RequestTimeTooSkewed: "), "{text}");
    store.check().await.unwrap();
    minio.stop().await.unwrap();
}
