//! Invalid pictures and failing stores: each is reported as its own problem, in time.

use crate::harness::{Lines, Runner, caption, inline, request, settings};
use crate::store::{Store, closed_store, lying_store};
use crate::support::picture;
use fovea_protocol::{Line, Reason, Source};
use image::{DynamicImage, ImageFormat};
use std::io::Cursor;
use std::time::Duration;

async fn reason(runner: &Runner, source: Source) -> Reason {
    let reported = runner.problem(&request(source)).await;
    assert!(!reported.detail.contains("secret"), "{}", reported.detail);
    reported.reason
}

#[tokio::test]
async fn bytes_that_are_not_a_picture_are_refused() {
    let runner = Runner::start(settings()).await;
    let (png, jpeg) = (picture("rgb.png"), picture("rgb-444.jpg"));
    let cases: [(&str, &[u8]); 8] = [
        ("empty", b""),
        ("text", b"this is no picture"),
        ("truncated JPEG", &jpeg[..jpeg.len() / 2]),
        ("JPEG without its end", &jpeg[..jpeg.len() - 2]),
        ("progressive JPEG, cut", &picture("progressive.jpg")[..1500]),
        ("a JPEG's first bytes", &jpeg[..3]),
        ("truncated PNG", &png[..png.len() / 2]),
        ("a PNG's first bytes", &png[..8]),
    ];
    for (name, bytes) in cases {
        let reported = runner.problem(&request(inline(bytes))).await;
        assert_eq!(
            reported.reason,
            Reason::InvalidPicture,
            "{name}: {}",
            reported.detail
        );
        assert!(!reported.retryable);
        assert!(reported.cost_micros.is_some(), "what it took is not said");
    }
}

#[tokio::test]
async fn a_picture_that_is_too_large_is_refused_from_its_header() {
    let mut tight = settings();
    tight.max_picture_pixels = 10_000;
    let runner = Runner::start(tight).await;
    let encode = |width, height| {
        let mut bytes = Cursor::new(Vec::new());
        let blank = DynamicImage::new_luma8(width, height);
        blank.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let fits = runner.last_line(&request(inline(&encode(100, 100)))).await;
    caption(&fits);
    let reported = runner.problem(&request(inline(&encode(101, 100)))).await;
    assert_eq!(reported.reason, Reason::PictureTooLarge);
    assert!(reported.detail.contains("101 x 100"), "{}", reported.detail);

    // A header that promises 16 GiB, in a few bytes.
    let mut bomb = encode(100, 100);
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let reported = runner.problem(&request(inline(&bomb))).await;
    assert!(
        matches!(
            reported.reason,
            Reason::PictureTooLarge | Reason::InvalidPicture
        ),
        "{reported:?}"
    );

    // Within the pixels, but decoding takes more memory than there is.
    let mut tight = settings();
    tight.max_decode_bytes = 6 << 20;
    let runner = Runner::start(tight).await;
    let reported = runner.problem(&request(inline(&encode(1000, 1000)))).await;
    assert_eq!(
        reported.reason,
        Reason::PictureTooLarge,
        "{}",
        reported.detail
    );
    caption(&runner.last_line(&request(inline(&encode(1, 50_000)))).await);
}

#[tokio::test]
async fn bytes_other_than_the_job_names_are_a_mismatch() {
    let (runner, store) = (Runner::start(settings()).await, Store::start().await);
    for source in [
        store.url("/picture"),
        store.url("/empty"),
        inline(&picture("rgb.png")),
    ] {
        let mut infer_request = request(source);
        infer_request.input.sha256 = Some("0".repeat(64));
        let reported = runner.problem(&infer_request).await;
        assert_eq!(
            reported.reason,
            Reason::DigestMismatch,
            "{infer_request:?}: {}",
            reported.detail
        );
    }
}

#[tokio::test]
async fn every_fault_of_a_store_has_its_own_reason() {
    let (runner, store) = (Runner::start(settings()).await, Store::start().await);
    for (path, expected) in [
        ("/missing", Reason::PictureNotFound),
        ("/forbidden", Reason::FetchFailed),
        ("/redirect", Reason::FetchFailed),
        ("/empty", Reason::InvalidPicture),
        ("/large", Reason::PictureTooLarge),
        ("/endless", Reason::PictureTooLarge),
    ] {
        assert_eq!(reason(&runner, store.url(path)).await, expected, "{path}");
    }
    assert_eq!(
        reason(&runner, lying_store().await).await,
        Reason::FetchFailed
    );
    assert_eq!(
        reason(&runner, closed_store().await).await,
        Reason::FetchFailed
    );
    let no_base64 = Source::Data("not base64!".to_owned());
    assert_eq!(reason(&runner, no_base64).await, Reason::MalformedRequest);
}

#[tokio::test]
async fn the_store_s_own_words_and_what_to_check_are_in_the_problem() {
    let (runner, store) = (Runner::start(settings()).await, Store::start().await);
    let reported = runner.problem(&request(store.url("/expired"))).await;
    assert_eq!(reported.reason, Reason::FetchFailed);
    assert!(reported.retryable);
    for part in ["403", "AccessDenied: Request has expired", "clocks"] {
        assert!(reported.detail.contains(part), "{}", reported.detail);
    }
    assert!(!reported.detail.contains("secret"), "{}", reported.detail);
}

#[tokio::test]
async fn a_store_that_stalls_ends_with_its_silence_or_the_deadline() {
    let store = Store::start().await;
    let runner = Runner::start(settings()).await;
    let mut infer_request = request(store.url("/stall"));
    infer_request.deadline_millis = 200;
    let reported = runner.problem(&infer_request).await;
    assert_eq!(reported.reason, Reason::DeadlineExceeded);

    let mut impatient = settings();
    impatient.fetch.silence = Duration::from_millis(200);
    let runner = Runner::start(impatient).await;
    assert_eq!(
        reason(&runner, store.url("/stall")).await,
        Reason::FetchFailed
    );
    runner.app.idle().await;
}

#[tokio::test]
async fn a_waiting_attempt_sends_heartbeats() {
    let (runner, store) = (Runner::start(settings()).await, Store::start().await);
    let mut lines = Lines::new(runner.post(&request(store.url("/gated"))).await);
    let mut heartbeats = 0;
    while heartbeats < 3 {
        heartbeats += usize::from(lines.next().await.unwrap() == Line::Heartbeat);
    }
    store.open_gate();
    caption(&lines.last().await);
}
