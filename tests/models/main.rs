//! Checkpoints in the bucket: an upload form signed with the bucket's key, and `fovea-runner fetch`, which
//! has no key, on a real MinIO. The checkpoint is in the hub's cache, so the hub gets no request.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use fovea_harness::{Minio, stack};
use fovea_store::{ModelFolder, ModelPrefix, ObjectKey, PostForm, Store, StoreConfig, StoreError};
use serde_json::Value;
use std::process::Output;
use std::time::Duration;
use tokio::process::Command;

const BUCKET: &str = "fovea";
const REPO: &str = "acme/tiny";
const COMMIT: &str = "82a37760796d32b1411fe092ab5d4e227313294b";
const HOUR: Duration = Duration::from_hours(1);
/// More than one chunk of a stream.
const WEIGHTS_BYTES: usize = 3_000_000;

struct Setting {
    minio: Minio,
    store: Store,
    home: tempfile::TempDir,
}

impl Setting {
    /// A bucket, and a cache with one checkpoint.
    async fn new() -> Self {
        let minio = Minio::start().await.unwrap();
        minio.create_bucket(BUCKET).unwrap();
        let config = StoreConfig::at(minio.endpoint().parse().unwrap(), BUCKET);
        let store = Store::connect_as(&config, minio.access_key(), minio.secret_key()).await;
        let home = tempfile::tempdir().unwrap();
        let repo = home.path().join("hub/models--acme--tiny");
        for folder in ["refs", &format!("snapshots/{COMMIT}")] {
            std::fs::create_dir_all(repo.join(folder)).unwrap();
        }
        std::fs::write(repo.join("refs/main"), COMMIT).unwrap();
        for (name, bytes) in files() {
            std::fs::write(repo.join("snapshots").join(COMMIT).join(name), bytes).unwrap();
        }
        Self {
            minio,
            store: store.unwrap(),
            home,
        }
    }

    async fn form(&self, repo: [&str; 2], max_bytes: u64) -> PostForm {
        let prefix = ModelPrefix::new(repo[0], repo[1]).unwrap();
        self.store
            .presign_post(&prefix, max_bytes, HOUR)
            .await
            .unwrap()
    }

    /// `fovea-runner fetch` with this form, and with nothing else that would open a bucket.
    async fn upload(&self, form: &PostForm) -> Output {
        let path = self.home.path().join("form.json");
        std::fs::write(&path, serde_json::to_vec(form).unwrap()).unwrap();
        let mut command = Command::new(stack::find("fovea-runner").unwrap());
        command
            .env_clear()
            .env("HF_HOME", self.home.path())
            .env("HF_HUB_OFFLINE", "1");
        command.envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)));
        command
            .args(["fetch", REPO, "--upload"])
            .arg(path)
            .output()
            .await
            .unwrap()
    }

    async fn object(&self, file: &str) -> Result<Vec<u8>, StoreError> {
        let folder = ModelFolder::new(&format!("acme/tiny/{COMMIT}")).unwrap();
        let key = ObjectKey::in_folder(&folder, file).unwrap();
        self.store
            .get(&key, 10_000_000)
            .await
            .map(|bytes| bytes.to_vec())
    }
}

fn files() -> [(&'static str, Vec<u8>); 2] {
    let weights = (0..WEIGHTS_BYTES).map(|i| u8::try_from(i % 251).unwrap_or_default());
    [
        ("config.json", b"{\"model_type\": \"blip\"}".to_vec()),
        ("model.safetensors", weights.collect()),
    ]
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_form_uploads_a_checkpoint_and_its_manifest_names_every_file() {
    let setting = Setting::new().await;
    let form = setting.form(["acme", "tiny"], 10_000_000).await;
    let output = setting.upload(&form).await;
    assert!(output.status.success(), "{}", log(&output));
    let manifest = setting.object("fovea-manifest.json").await.unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        (&manifest["repo"], &manifest["commit"]),
        (&REPO.into(), &COMMIT.into())
    );
    let listed = manifest["files"].as_array().unwrap();
    assert_eq!(listed.len(), files().len());
    for (name, bytes) in files() {
        assert_eq!(setting.object(name).await.unwrap(), bytes, "{name}");
        let line = listed.iter().find(|file| file["path"] == name).unwrap();
        assert_eq!(line["bytes"], bytes.len());
        assert_eq!(line["sha256"], fovea_store::Sha256::of(&bytes).to_string());
    }
    let signature = &form.fields["x-amz-signature"];
    assert!(!log(&output).contains(signature));
    // A second upload replaces the first.
    assert!(setting.upload(&form).await.status.success());
    setting.minio.stop().await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_of_which_a_file_is_refused_has_no_manifest() {
    let setting = Setting::new().await;
    let output = setting
        .upload(&setting.form(["acme", "tiny"], 1000).await)
        .await;
    let log = log(&output);
    assert!(!output.status.success(), "{log}");
    assert!(
        log.contains("model.safetensors") && log.contains("EntityTooLarge"),
        "{log}"
    );
    assert!(setting.object("config.json").await.is_ok());
    let manifest = setting.object("fovea-manifest.json").await;
    assert!(
        matches!(manifest, Err(StoreError::NotFound { .. })),
        "{manifest:?}"
    );
    setting.minio.stop().await.unwrap();
}

#[tokio::test]
async fn a_form_for_another_model_or_none_fails_before_any_upload() {
    let setting = Setting::new().await;
    let other = setting.form(["acme", "other"], 10_000_000).await;
    let output = setting.upload(&other).await;
    assert!(
        !output.status.success() && log(&output).contains("models/acme/other/"),
        "{}",
        log(&output)
    );
    let mut keyless = setting.form(["acme", "tiny"], 10_000_000).await;
    keyless.fields.remove("key");
    assert!(log(&setting.upload(&keyless).await).contains("has no key"));
    let mut nowhere = keyless.clone();
    nowhere.url = "file:///etc".to_owned();
    assert!(log(&setting.upload(&nowhere).await).contains("no http or https URL"));
    assert!(setting.object("config.json").await.is_err());
    setting.minio.stop().await.unwrap();
}

#[tokio::test]
async fn a_form_whose_signature_was_changed_is_refused_with_the_stores_own_word() {
    let setting = Setting::new().await;
    let mut form = setting.form(["acme", "tiny"], 10_000_000).await;
    let wrong = "0".repeat(64);
    form.fields.insert("x-amz-signature".to_owned(), wrong);
    let output = setting.upload(&form).await;
    let log = log(&output);
    assert!(
        log.contains("403") && log.contains("SignatureDoesNotMatch"),
        "{log}"
    );
    setting.minio.stop().await.unwrap();
}
