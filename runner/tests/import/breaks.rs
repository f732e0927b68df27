//! Bodies that break off, stall, change, or have a wrong digest or length.

use crate::hub::sha256;
use crate::setting::{Setting, golden};
use axum::body::Body;
use axum::response::Response;
use fovea_runner::import::{ImportError, TransferError};
use futures::StreamExt as _;

const WEIGHTS: &str = "model.safetensors";

fn weights() -> Vec<u8> {
    std::fs::read(golden().join(WEIGHTS)).unwrap()
}

fn ranges(setting: &Setting) -> Vec<Option<String>> {
    let gets = setting.hub.gets("/store/");
    gets.into_iter().map(|seen| seen.range).collect()
}

/// The range of a request for what is missing.
#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with what the hub has seen"
)]
fn from(byte: usize) -> Option<String> {
    Some(format!("bytes={byte}-"))
}

/// Leaves part of the weights behind, as an interrupted import does.
fn leave(setting: &Setting, bytes: &[u8]) {
    let [_, partial] = setting.blob(&sha256(&weights()));
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::fs::write(&partial, bytes).unwrap();
}

async fn assert_whole(setting: &Setting) {
    let dir = setting.import().await.unwrap().dir;
    assert_eq!(std::fs::read(dir.join(WEIGHTS)).unwrap(), weights());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_resumed_from_where_it_broke() {
    let setting = Setting::new().await;
    setting.hub.breaks(WEIGHTS, [30_000, 50_000]);
    assert_whole(&setting).await;
    assert_eq!(ranges(&setting), [None, from(30_000), from(80_000)]);
    // The second and third ask for the same version as the first.
    let versions = setting.hub.gets("/store/").into_iter();
    let versions = versions.map(|seen| seen.if_match);
    let same = Some("\"store-0\"".to_owned());
    assert_eq!(versions.collect::<Vec<_>>(), [None, same.clone(), same]);
}

#[tokio::test]
async fn a_partial_import_is_resumed() {
    let setting = Setting::new().await;
    leave(&setting, &weights()[..60_000]);
    assert_whole(&setting).await;
    assert_eq!(ranges(&setting), [from(60_000)]);
}

#[tokio::test]
async fn a_wrong_partial_file_is_deleted_and_fetched_again() {
    for length in [60_000, weights().len(), weights().len() + 1] {
        let setting = Setting::new().await;
        leave(&setting, &vec![0; length]);
        assert_whole(&setting).await;
        assert_eq!(ranges(&setting).last(), Some(&None));
    }
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_the_beginning() {
    let setting = Setting::new().await;
    setting.hub.world().no_ranges = true;
    setting.hub.breaks(WEIGHTS, [30_000]);
    assert_whole(&setting).await;
    assert_eq!(ranges(&setting).len(), 2);
}

#[tokio::test]
async fn a_file_that_changed_between_two_pieces_is_downloaded_from_the_start() {
    let setting = Setting::new().await;
    setting.hub.breaks(WEIGHTS, [30_000]);
    setting.hub.world().breaks_change_version = true;
    assert_whole(&setting).await;
    assert_eq!(ranges(&setting), [None, from(30_000), None]);
}

#[tokio::test]
async fn a_stalled_body_is_dropped_and_resumed() {
    let setting = Setting::new().await;
    let begin = bytes::Bytes::from(weights()[..10_000].to_vec());
    let stalling = futures::stream::iter([Ok::<_, std::io::Error>(begin)]);
    let body = Body::from_stream(stalling.chain(futures::stream::pending()));
    let length = weights().len();
    let stalled = Response::builder()
        .header("content-length", length)
        .body(body)
        .unwrap();
    setting.hub.instead("/store/", [stalled]);
    assert_whole(&setting).await;
    assert_eq!(ranges(&setting), [None, from(10_000)]);
}

#[tokio::test]
async fn bytes_with_another_digest_are_refused_deleted_and_not_linked() {
    let setting = Setting::new().await;
    let mut lie = weights();
    *lie.last_mut().unwrap() ^= 1;
    setting.hub.lies(WEIGHTS, lie);
    let error = setting.import().await.unwrap_err();
    let is_digest = matches!(&error, ImportError::Transfer(TransferError::Digest { .. }));
    assert!(is_digest, "{error}");
    let (text, digest) = (error.to_string(), sha256(&weights()));
    assert!(text.contains(&digest) && text.contains("deleted"), "{text}");
    let [blob, partial] = setting.blob(&digest);
    assert!(!blob.exists());
    assert_eq!(partial.metadata().unwrap().len(), 0);
    // The same for a small file, whose digest is git's.
    let setting = Setting::new().await;
    let truth = std::fs::read_to_string(golden().join("config.json")).unwrap();
    let lie = truth.replace("blip", "blop");
    setting.hub.lies("config.json", lie);
    setting.refused(&["config.json has the git blob"]).await;
}

#[tokio::test]
async fn another_length_than_the_hub_announced_is_refused() {
    let setting = Setting::new().await;
    let shorter = weights()[..50_000].to_vec();
    setting.hub.lies(WEIGHTS, shorter);
    setting.refused(&["has 50000 bytes"]).await;
    // Without a length in the answer the body is cut at the expected length.
    let setting = Setting::new().await;
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0u8; 40_000]));
    let endless = Response::new(Body::from_stream(endless));
    setting.hub.instead("/store/", [endless]);
    setting.refused(&["were expected"]).await;
}

#[tokio::test]
async fn a_range_that_was_not_requested_is_not_used() {
    let setting = Setting::new().await;
    setting.hub.breaks(WEIGHTS, [30_000]);
    let length = weights().len();
    let range = format!("bytes 0-{}/{length}", length - 1);
    let other = Response::builder()
        .status(206)
        .header("content-range", range);
    let other = other.body(Body::from(weights())).unwrap();
    setting.hub.instead_or_not("/store/", [None, Some(other)]);
    assert_whole(&setting).await;
}

#[tokio::test]
async fn after_the_last_try_an_error_is_reported_and_the_partial_file_is_kept() {
    let setting = Setting::new().await;
    setting.hub.breaks(WEIGHTS, [20_000, 0, 0, 0, 0]);
    let error = setting.refused(&["gave up after 3 tries"]).await;
    assert!(!error.contains("secret"), "{error}");
    let [_, partial] = setting.blob(&sha256(&weights()));
    assert_eq!(partial.metadata().unwrap().len(), 20_000);
    setting.hub.world().breaks.clear();
    assert_whole(&setting).await;
}
