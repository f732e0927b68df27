//! Parts in the formats of a batch, read by what users read them with.

use super::bucket::Bucket;
use super::operator::{Attempt, Plan, done, rows, shard};
use crate::harness::{Runner, demo, settings};
use crate::support::picture;
use fovea_protocol::{Part, PartFormat, Row, Task};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A part of 5 pictures, one of which fails: its rows, and the formatted object.
async fn part(model: &str, task: Task, format: PartFormat) -> (Part, Vec<Row>, Vec<u8>) {
    let runner = Runner::start_demo(settings(), vec![demo(model)]).await;
    let bucket = Bucket::start().await;
    let keys = bucket.fill(5, &picture("rgb.png"));
    bucket.add(&keys[2], &b"no picture"[..]);
    let plan = Plan::new(&bucket, &keys);
    let mut request = shard(5);
    (request.model, request.task, request.format) = (model.to_owned(), task, format);
    request.parameters.top_k = None;
    // So that there are detections, whatever the picture.
    request.parameters.score_threshold_permille = (task == Task::ObjectDetection).then_some(0);
    let mut attempt = Attempt::begin(&runner, &request).await;
    let part = done(attempt.serve(&plan).await);
    let rows = rows(&plan, &part);
    let inside = bucket.lock();
    assert_eq!(inside.puts, ["part.formatted", "part.jsonl"]);
    let formatted = inside.written["part.formatted"].to_vec();
    let file = part.formatted.as_ref().unwrap();
    assert_eq!(file.bytes, formatted.len() as u64);
    assert_eq!(file.sha256, hex::encode(Sha256::digest(&formatted)));
    drop(inside);
    (part, rows, formatted)
}

#[tokio::test]
async fn a_csv_part_has_the_rows_under_its_header() {
    let (_, rows, formatted) = part("vit", Task::ImageClassification, PartFormat::Csv).await;
    let mut reader = csv::Reader::from_reader(formatted.as_slice());
    let header = reader.headers().unwrap().clone();
    assert_eq!(
        header.iter().take(4).collect::<Vec<_>>(),
        ["id", "key", "label", "score"]
    );
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), rows.len());
    for (record, row) in records.iter().zip(&rows) {
        assert_eq!(&record[1], row.key);
        assert_eq!(record[2].is_empty(), row.error.is_some());
    }
}

/// Reads a Parquet part with pyarrow, as JSON. `make test` installs it and names its folder.
fn read_with_pyarrow(formatted: &[u8]) -> Option<Vec<Value>> {
    let Some(pyarrow) = std::env::var_os("PYARROW") else {
        eprintln!("PYARROW names no folder with pyarrow: skipped; make test has one");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part.parquet");
    std::fs::write(&path, formatted).unwrap();
    let script = "import json, sys, pyarrow.parquet as pq\n\
                  print(json.dumps(pq.read_table(sys.argv[1]).to_pylist()))";
    let mut command = std::process::Command::new("python3");
    command.env("PYTHONPATH", pyarrow).args(["-c", script]);
    let output = command.arg(&path).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn pyarrow_reads_nested_results_from_a_parquet_part() {
    for (model, task, member) in [
        ("vit", Task::ImageClassification, "predictions"),
        ("detr", Task::ObjectDetection, "detections"),
        ("blip", Task::ImageToText, "caption"),
    ] {
        let (_, rows, formatted) = part(model, task, PartFormat::Parquet).await;
        let Some(read) = read_with_pyarrow(&formatted) else {
            return;
        };
        assert_eq!(read.len(), rows.len());
        for (read, row) in read.iter().zip(&rows) {
            let row = serde_json::to_value(row).unwrap();
            for name in ["id", "key", "error", "sha256", "width", "height"] {
                assert_eq!(read[name], row[name], "{name}");
            }
            assert_eq!(
                (&read["model"], &read["meta"]),
                (&row["model"]["name"], &Value::Null)
            );
            assert_eq!(read["revision"], row["model"]["revision"]);
            assert!(
                same(&read[member], &row[member]),
                "{} {}",
                read[member],
                row[member]
            );
        }
        let found = &read[0][member];
        assert!(
            found.as_array().is_none_or(|found| !found.is_empty()),
            "{found}"
        );
        assert!(!found.is_null());
    }
}

/// Whether two values are the same: Python writes 32-bit numbers with more digits.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= one.abs() * 1e-6
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, value)| same(value, &other[name.as_str()]))
        }
        _ => one == other,
    }
}
