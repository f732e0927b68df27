//! Shards whose pictures have been answered before.

use super::bucket::Bucket;
use super::operator::{Attempt, Plan, done, rows, shard};
use crate::harness::{Runner, settings};
use crate::support::picture;
use fovea_protocol::{Answer, answer_of};
use std::collections::BTreeMap;

/// Pictures with the same pixels that differ in their bytes.
fn pictures(bucket: &Bucket, count: usize) -> Vec<String> {
    let keys = bucket.fill(count, b"");
    for (number, key) in keys.iter().enumerate() {
        let mut bytes = picture("rgb.png");
        bytes.extend(number.to_be_bytes());
        bucket.add(key, bytes);
    }
    keys
}

/// What the attempt kept, by question.
fn kept(plan: &Plan) -> BTreeMap<String, Answer> {
    let written = plan.bucket.lock().written[&format!("{}.answers", plan.part)].clone();
    let text = std::str::from_utf8(&written).unwrap();
    let answer = |line: &str| {
        let question = line[..64].to_owned();
        let answer = answer_of(&question, line.as_bytes()).unwrap();
        (question, answer)
    };
    text.lines().map(answer).collect()
}

#[tokio::test]
async fn answers_are_kept_and_a_picture_that_has_one_is_not_run() {
    let (runner, bucket) = (Runner::start_vit(settings()).await, Bucket::start().await);
    let keys = pictures(&bucket, 150);
    bucket.add(&keys[5], &b"no picture"[..]);
    let mut request = shard(150);
    request.reuse = true;
    let mut plan = Plan::new(&bucket, &keys);
    let part = done(Attempt::begin(&runner, &request).await.serve(&plan).await);
    assert_eq!((part.succeeded, part.failed, part.reused), (149, 1, 0));
    let first = rows(&plan, &part);
    plan.known = kept(&plan);
    assert_eq!(plan.known.len(), 149);
    runner.app.idle().await;

    // Half of them were answered before; the rest is answered anew, and kept.
    let half: Vec<_> = plan.known.keys().step_by(2).cloned().collect();
    plan.known.retain(|question, _| half.contains(question));
    plan.part = "second";
    request.attempt = 2;
    let mut attempt = Attempt::begin(&runner, &request).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!((part.succeeded, part.failed, part.reused), (149, 1, 75));
    assert_eq!(rows(&plan, &part), first);
    assert_eq!(kept(&plan).len(), 74);
    assert!(attempt.asked.iter().sum::<usize>() == 149 + 1);
    runner.app.idle().await;

    // Another parameter is another question.
    plan.part = "third";
    request.attempt = 3;
    request.parameters.top_k = Some(2);
    let part = done(Attempt::begin(&runner, &request).await.serve(&plan).await);
    assert_eq!((part.succeeded, part.reused), (149, 0));
    runner.app.idle().await;

    // Without `reuse` nothing is asked, and nothing is kept.
    plan.part = "fourth";
    (request.attempt, request.reuse) = (4, false);
    let mut attempt = Attempt::begin(&runner, &request).await;
    let part = done(attempt.serve(&plan).await);
    assert_eq!((part.reused, part.answers), (0, None));
    assert!(attempt.asked.is_empty());
}
