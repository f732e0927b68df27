//! The serving side: a manifest of presigned GETs.

use crate::hub::{Hub, bare, sha256};
use crate::setting::{RETRY, names, until};
use fovea_protocol::ModelFile;
use fovea_runner::import::{DownloadError, DownloadLimits, download};
use std::path::Path;
use std::time::Duration;

const LIMITS: DownloadLimits = DownloadLimits {
    max_files: 4,
    max_bytes: 300_000,
    silence: Duration::from_millis(500),
    retry: RETRY,
};

async fn store() -> (Hub, tempfile::TempDir) {
    let hub = Hub::start().await;
    for (name, bytes) in [("small", vec![1; 10]), ("large", vec![2; 200_000])] {
        hub.put(name, bytes);
    }
    (hub, tempfile::tempdir().unwrap())
}

fn remote(hub: &Hub, name: &str, path: &str) -> ModelFile {
    let bytes = hub.world().files[name].clone();
    ModelFile {
        path: path.to_owned(),
        url: format!("http://{}/store/{name}?X-Amz-Signature=secret", hub.store),
        bytes: bytes.len() as u64,
        sha256: sha256(&bytes),
    }
}

fn whole(hub: &Hub, name: &str, place: &Path) {
    assert_eq!(std::fs::read(place).unwrap(), hub.world().files[name]);
}

#[tokio::test]
async fn files_are_downloaded_whole_and_existing_ones_are_kept() {
    let (hub, dir) = store().await;
    let files = [
        remote(&hub, "small", "config.json"),
        remote(&hub, "large", "deep/er/weights.bin"),
    ];
    download(&files, dir.path(), LIMITS, None).await.unwrap();
    whole(&hub, "small", &dir.path().join("config.json"));
    whole(&hub, "large", &dir.path().join("deep/er/weights.bin"));
    assert_eq!(hub.gets("/store/").len(), 2);
    assert!(hub.gets("/store/").iter().all(|seen| seen.token.is_none()));
    download(&files, dir.path(), LIMITS, None).await.unwrap();
    assert_eq!(hub.gets("/store/").len(), 2);
    // A changed file is downloaded again.
    std::fs::write(dir.path().join("config.json"), [9; 10]).unwrap();
    download(&files, dir.path(), LIMITS, None).await.unwrap();
    whole(&hub, "small", &dir.path().join("config.json"));
    assert_eq!(hub.gets("/store/small").len(), 2);
}

#[tokio::test]
async fn a_dropped_download_is_resumed() {
    let (hub, dir) = store().await;
    let files = [remote(&hub, "large", "weights.bin")];
    // The body breaks off; then the store is busy for longer than the test.
    hub.breaks("large", [70_000]);
    let (path, copy) = (dir.path().to_owned(), files.clone());
    let retry = fovea_runner::import::Retry {
        first_wait: Duration::from_mins(10),
        longest_wait: Duration::from_mins(10),
        ..RETRY
    };
    let limits = DownloadLimits { retry, ..LIMITS };
    let running = tokio::spawn(async move { download(&copy, &path, limits, None).await });
    let partial = dir.path().join(".incomplete").join(&files[0].sha256);
    until(|| partial.metadata().is_ok_and(|found| found.len() == 70_000)).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert!(!dir.path().join("weights.bin").exists());
    download(&files, dir.path(), LIMITS, None).await.unwrap();
    whole(&hub, "large", &dir.path().join("weights.bin"));
    let ranges = hub.gets("/store/").into_iter().map(|seen| seen.range);
    let rest = Some("bytes=70000-".to_owned());
    assert_eq!(ranges.collect::<Vec<_>>(), [None, rest]);
}

#[tokio::test]
async fn two_concurrent_downloads_fetch_every_file_once() {
    let (hub, dir) = store().await;
    let files = [remote(&hub, "large", "weights.bin")];
    let load = || download(&files, dir.path(), LIMITS, None);
    let (one, other) = tokio::join!(load(), load());
    one.and(other).unwrap();
    assert_eq!(hub.gets("/store/").len(), 1);
}

#[tokio::test]
async fn wrong_bytes_and_wrong_lengths_are_refused_and_leave_nothing_in_place() {
    let (hub, dir) = store().await;
    let wrong = ModelFile {
        sha256: sha256(b"other"),
        ..remote(&hub, "small", "a")
    };
    let error = download(&[wrong], dir.path(), LIMITS, None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("a has the sha256"), "{error}");
    let wrong = ModelFile {
        bytes: 11,
        ..remote(&hub, "small", "a")
    };
    let error = download(&[wrong], dir.path(), LIMITS, None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("10 bytes, but 11"), "{error}");
    assert_eq!(names(dir.path()), [".incomplete"]);
}

#[tokio::test]
async fn a_stores_refusal_is_reported_without_the_urls_signature() {
    let (hub, dir) = store().await;
    for (answer, words) in [
        (bare(403, &[]), "403"),
        (bare(404, &[]), "404"),
        (
            bare(302, &[("location", "/store/small")]),
            "redirect where none is expected",
        ),
    ] {
        hub.instead("/store/", [answer]);
        let small = [remote(&hub, "small", "a")];
        let error = download(&small, dir.path(), LIMITS, None)
            .await
            .unwrap_err();
        assert!(matches!(error, DownloadError::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
        assert!(text.contains("presigned URLs still valid"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    let unreachable = ModelFile {
        url: "http://127.0.0.1:1/x?X-Amz-Signature=secret".to_owned(),
        ..remote(&hub, "small", "a")
    };
    assert!(!format!("{unreachable:?}").contains("secret"));
    let failed = download(&[unreachable], dir.path(), LIMITS, None).await;
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("gave up after 3 tries"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_manifest_outside_its_folder_or_bounds_is_refused_before_any_request() {
    let (hub, dir) = store().await;
    let file = remote(&hub, "small", "a");
    let refused = async |files: &[ModelFile], words: &str| {
        let failed = download(files, dir.path(), LIMITS, None).await;
        let error = failed.unwrap_err().to_string();
        assert!(error.contains("the manifest is refused"), "{error}");
        assert!(error.contains(words), "{error}");
    };
    let mut other = file.clone();
    let outside = "../a /a a/../b a//b a\\b .. .incomplete/x a/b/c/d/e";
    for path in outside.split(' ').chain([""]) {
        path.clone_into(&mut other.path);
        refused(&[other.clone()], "relative path").await;
    }
    let mut other = file.clone();
    for url in ["file:///etc/passwd", "ftp://x/y", "x", "http://"] {
        url.clone_into(&mut other.url);
        refused(&[other.clone()], "URL").await;
    }
    let mut other = file.clone();
    for sha256 in ["", "abc", &"0".repeat(40), &"A".repeat(64)] {
        sha256.clone_into(&mut other.sha256);
        refused(&[other.clone()], "no sha256").await;
    }
    refused(&[file.clone(), file.clone()], "there twice").await;
    let within = ModelFile {
        path: "a/b".to_owned(),
        ..file.clone()
    };
    refused(&[file.clone(), within], "a file and a folder").await;
    refused(&vec![file.clone(); 5], "5 files where 4").await;
    for bytes in [300_001, u64::MAX] {
        let mut other = file.clone();
        "b".clone_into(&mut other.path);
        let large = ModelFile {
            bytes,
            ..file.clone()
        };
        refused(&[large, other], "bytes allowed").await;
    }
    assert!(hub.gets("/store/").is_empty());
}
