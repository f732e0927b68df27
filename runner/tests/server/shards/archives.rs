//! Shards that are tar archives.

use super::bucket::Bucket;
use super::operator::{Attempt, Plan, done, rows, shard};
use crate::harness::{Runner, settings};
use crate::support::picture;
use fovea_protocol::{Part, Reason, Row, RowError, ShardLine, ShardOf, ShardRequest};
use serde_json::json;
use std::time::Duration;
use tar::{Builder, Header};

/// An archive of these members.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An archive of 100 samples: a picture, then what belongs to it; and a member in between that belongs to
/// none.
fn samples() -> Vec<u8> {
    let bytes = picture("rgb.png");
    let members: Vec<(String, Vec<u8>)> = (0..100)
        .flat_map(|n| {
            [
                (format!("{n:04}.cls"), n.to_string().into_bytes()),
                (format!("{n:04}.png"), bytes.clone()),
                (
                    format!("{n:04}.json"),
                    format!("{{\"n\": {n}}}").into_bytes(),
                ),
                (format!("{n:04}.npy"), vec![0; 1500]),
            ]
        })
        .collect();
    let members = members.iter();
    let members = members.map(|(name, content)| (name.as_str(), content.as_slice()));
    tar(&members.collect::<Vec<_>>())
}

fn archive() -> ShardRequest {
    let mut request = shard(0);
    request.of = ShardOf::Archive;
    request.to = None;
    request
}

/// Runs an archive with these bytes to its end.
async fn run(runner: &Runner, bucket: &Bucket, bytes: Vec<u8>) -> (Part, Vec<Row>) {
    bucket.add("set.tar", bytes);
    bucket.lock().written.clear();
    let plan = Plan::new(bucket, &["set.tar".to_owned()]);
    let mut attempt = Attempt::begin(runner, &archive()).await;
    let part = done(attempt.serve(&plan).await);
    assert!(part.end);
    let rows = rows(&plan, &part);
    (part, rows)
}

fn reason(row: &Row) -> &str {
    row.error.as_ref().map_or("", |error| &error.reason)
}

#[tokio::test]
async fn an_archive_s_pictures_take_along_what_belongs_to_them_and_cost_one_get() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let (part, rows) = run(&runner, &bucket, samples()).await;
    assert_eq!((part.to, part.failed, part.skipped), (100, 0, 100));
    assert_eq!(bucket.lock().gets, 1);
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row.key, format!("set.tar/{n:04}.png"));
        assert_eq!(format!("set.tar/{}", row.id), row.key);
        assert!(row.result.is_some() && row.sha256.is_some());
        let meta = serde_json::to_value(&row.meta).unwrap();
        assert_eq!(meta, json!({"cls": n.to_string(), "json": {"n": n}}));
    }
    // As in webdataset, a member of another sample ends this one, whatever its kind.
    let bytes = tar(&[
        ("a.png", &picture("rgb.png")),
        ("b.npy", b"x"),
        ("a.json", b"{}"),
    ]);
    let (part, rows) = run(&runner, &bucket, bytes).await;
    assert_eq!((part.to, part.skipped), (1, 2));
    assert!(rows[0].meta.is_empty());
}

#[tokio::test]
async fn an_archive_goes_on_where_the_store_broke_it_off() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    bucket.lock().cuts = vec![100_000, 3, 512, 70_000];
    bucket.lock().failing = Some((String::new(), 2));
    let (part, rows) = run(&runner, &bucket, samples()).await;
    assert_eq!((part.to, part.failed, part.skipped), (100, 0, 100));
    assert_eq!(rows[99].key, "set.tar/0099.png");
    assert_eq!(bucket.lock().gets, 5);
}

#[tokio::test]
async fn ranges_of_an_archive_have_the_rows_of_the_whole() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let (_, whole) = run(&runner, &bucket, samples()).await;
    let (mut all, mut skipped) = (Vec::new(), 0);
    let ranges = [(0, Some(30), "a"), (30, Some(100), "b"), (100, None, "c")];
    for (from, to, name) in ranges {
        let plan = Plan {
            part: name,
            ..Plan::new(&bucket, &["set.tar".to_owned()])
        };
        let mut request = archive();
        (request.from, request.to) = (from, to);
        let mut attempt = Attempt::begin(&runner, &request).await;
        let part = done(attempt.serve(&plan).await);
        assert_eq!((part.from, part.to), (from, to.unwrap_or(100)));
        assert_eq!(part.end, from != 0, "{part:?}");
        all.extend(rows(&plan, &part));
        skipped += part.skipped;
    }
    assert_eq!(all, whole);
    // The last member is after the last picture, in both parts that reach the end.
    assert_eq!(skipped, 101);
}

#[tokio::test]
async fn what_cannot_be_read_of_an_archive_is_a_row_of_its_own() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let (good, huge) = (picture("rgb.png"), vec![0; 9 << 20]);
    let bytes = tar(&[
        ("a.png", &good),
        ("a.bad.jpg", b"no picture"),
        ("b.png", &huge),
        ("b.txt", &huge[..100_000]),
        ("orphan.json", b"{}"),
        (&format!("{}.png", "x".repeat(100_000)), &good),
        (&format!("{}.txt", "x".repeat(100_000)), b"beside it"),
        ("c.png", &good),
    ]);
    let (part, rows) = run(&runner, &bucket, bytes.clone()).await;
    let reasons: Vec<_> = rows.iter().map(reason).collect();
    assert_eq!(
        reasons,
        ["", "InvalidPicture", "PictureTooLarge", "InvalidKey", ""]
    );
    assert_eq!(part.skipped, 2);
    assert_eq!((rows[3].id.len(), rows[3].key.len()), (4096, 4104));
    let message = &rows[3].error.as_ref().unwrap().message;
    assert!(message.contains("100004 bytes"), "{message}");
    let note = json!({"dropped": "more than 65536 bytes"});
    assert_eq!(rows[2].meta["txt"], note);

    // Cut in the last picture, and right before the end.
    for (cut, pictures) in [(bytes.len() - 1024 - 600, 4), (bytes.len() - 1024, 5)] {
        let (part, rows) = run(&runner, &bucket, bytes[..cut].to_vec()).await;
        assert_eq!(rows.len(), pictures + 1);
        assert_eq!(reason(&rows[pictures]), "ArchiveTruncated");
        assert_eq!(rows[pictures].key, "set.tar");
        assert_eq!(part.failed, 4);
    }
    let (_, rows) = run(&runner, &bucket, vec![0x1f; 4000]).await;
    assert_eq!(
        rows.iter().map(reason).collect::<Vec<_>>(),
        ["InvalidArchive"]
    );
    let (part, rows) = run(&runner, &bucket, tar(&[])).await;
    assert!(rows.is_empty() && part.to == 0);

    bucket.lock().objects.clear();
    let plan = Plan {
        part: "none",
        ..Plan::new(&bucket, &["none.tar".to_owned()])
    };
    let mut attempt = Attempt::begin(&runner, &archive()).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!((part.to, part.end), (1, true));
    assert_eq!(
        reason(&super::operator::rows(&plan, &part)[0]),
        "PictureNotFound"
    );
}

#[tokio::test]
async fn an_archive_that_is_replaced_while_it_is_read_is_not_mixed() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let first = samples();
    bucket.lock().cuts = vec![50_000];
    bucket.lock().replacement = Some(("set.tar".to_owned(), first[..first.len() - 512].to_vec()));
    let (_, rows) = run(&runner, &bucket, first).await;
    assert_eq!(
        reason(rows.last().unwrap()),
        "ArchiveChanged",
        "{}",
        rows.len()
    );
    assert!(rows.len() > 1 && rows.len() < 100);
}

#[tokio::test]
async fn an_archive_that_the_store_no_longer_delivers_ends_with_the_samples_that_are_whole() {
    let mut impatient = settings();
    impatient.shards.patience = Duration::from_secs(1);
    let (runner, bucket) = (Runner::start_vit(impatient).await, Bucket::start().await);
    bucket.add("set.tar", samples());
    bucket.lock().cuts = vec![200_000];
    bucket.lock().most_gets = Some(1);
    let plan = Plan::new(&bucket, &["set.tar".to_owned()]);
    let mut attempt = Attempt::begin(&runner, &archive()).await;
    let from = match attempt.serve(&plan).await {
        ShardLine::Done {
            part,
            exists: false,
            stopped: Some(problem),
            ..
        } => {
            assert_eq!(problem.reason, Reason::FetchFailed);
            assert!(!part.end);
            rows(&plan, &part);
            part.to
        }
        other => panic!("{other:?}"),
    };
    assert!(from > 0 && from < 100, "{from}");
    bucket.lock().most_gets = None;
    let rest = Plan {
        part: "rest",
        ..plan
    };
    let mut request = archive();
    request.from = from;
    let mut attempt = Attempt::begin(&runner, &request).await;
    let part = done(attempt.serve(&rest).await);
    assert_eq!((part.to, part.end), (100, true));
    assert_eq!(rows(&rest, &part)[0].key, format!("set.tar/{from:04}.png"));
}

#[tokio::test]
async fn a_picture_that_the_operator_gave_up_does_not_end_its_archive() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    bucket.add("set.tar", samples());
    let mut plan = Plan::new(&bucket, &["set.tar".to_owned()]);
    let message = "says this test".to_owned();
    plan.items[0].error = Some(RowError {
        reason: "RunnerLost".to_owned(),
        message,
    });
    let mut one = archive();
    (one.from, one.to) = (5, Some(6));
    let part = done(Attempt::begin(&runner, &one).await.serve(&plan).await);
    assert_eq!(
        (part.from, part.to, part.failed, part.end),
        (5, 6, 1, false)
    );
    assert_eq!(reason(&rows(&plan, &part)[0]), "RunnerLost");

    bucket.lock().written.clear();
    let mut whole = archive();
    whole.from = 5;
    let part = done(Attempt::begin(&runner, &whole).await.serve(&plan).await);
    assert_eq!((part.from, part.to, part.failed, part.end), (5, 6, 1, true));
    assert_eq!(bucket.lock().gets, 0);
}
