//! Presigned POST forms against a real MinIO.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod support;

use fovea_harness::eventually;
use fovea_store::{ModelFolder, ModelPrefix, ObjectKey, PostForm};
use reqwest::multipart::{Form, Part};
use std::time::Duration;
use support::{BUCKET, store};

const HOUR: Duration = Duration::from_hours(1);

/// S3's answer to the form with this key and file.
async fn post(form: &PostForm, key: &str, file: &[u8]) -> (u16, String) {
    let mut body = Form::new().text("key", key.to_owned());
    for (name, value) in form.fields.iter().filter(|(name, _)| *name != "key") {
        body = body.text(name.clone(), value.clone());
    }
    let body = body.part("file", Part::bytes(file.to_vec()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(&form.url).multipart(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_form_puts_files_below_its_prefix_and_nowhere_else() {
    let (minio, store) = store().await;
    let prefix = ModelPrefix::new("microsoft", "resnet-50").unwrap();
    let form = store.presign_post(&prefix, 10, HOUR).await.unwrap();
    assert_eq!(form.url, format!("{}/{BUCKET}", minio.endpoint()));
    assert!(!format!("{form:?}").contains(&form.fields["x-amz-signature"]));

    let (status, text) = post(
        &form,
        "models/microsoft/resnet-50/c0ffee/config.json",
        b"0123456789",
    )
    .await;
    assert_eq!(status, 204, "{text}");
    let folder = ModelFolder::new("microsoft/resnet-50/c0ffee").unwrap();
    let key = ObjectKey::in_folder(&folder, "config.json").unwrap();
    assert_eq!(
        store.get(&key, 100).await.unwrap(),
        b"0123456789".as_slice()
    );

    for elsewhere in [
        "models/microsoft/resnet-501/x",
        "models/microsoft/resnet-50",
        "uploads/a/b/c",
        "x",
    ] {
        let (status, text) = post(&form, elsewhere, b"").await;
        assert_eq!(status, 403, "{elsewhere}: {text}");
    }
    let (status, text) = post(
        &form,
        "models/microsoft/resnet-50/c0ffee/large",
        b"0123456789a",
    )
    .await;
    assert!(
        status == 400 && text.contains("EntityTooLarge"),
        "{status}: {text}"
    );
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn a_modified_or_expired_form_is_refused() {
    let (minio, store) = store().await;
    let prefix = ModelPrefix::new("a", "b").unwrap();
    let form = store.presign_post(&prefix, 10, HOUR).await.unwrap();
    let mut changed = form.clone();
    let other = store.presign_post(&prefix, 1000, HOUR).await.unwrap();
    changed
        .fields
        .insert("policy".to_owned(), other.fields["policy"].clone());
    assert_eq!(post(&changed, "models/a/b/c", b"").await.0, 403);
    let expired = store
        .presign_post(&prefix, 10, Duration::ZERO)
        .await
        .unwrap();
    // It lives for the shortest time that can be signed.
    eventually("the form to expire", Duration::from_secs(10), async || {
        let (status, text) = post(&expired, "models/a/b/c", b"").await;
        let is_refused = status == 403 && text.contains("expired");
        is_refused.then_some(()).ok_or(format!("{status}: {text}"))
    })
    .await
    .unwrap();
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn a_form_that_s3_would_refuse_is_not_signed() {
    let (minio, store) = store().await;
    let prefix = ModelPrefix::new("a", "b").unwrap();
    let error = store
        .presign_post(&prefix, u64::MAX, HOUR)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("5 GiB"), "{error}");
    let error = store
        .presign_post(&prefix, 1, 24 * 8 * HOUR)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("seven days"), "{error}");
    minio.stop().await.unwrap();
}
