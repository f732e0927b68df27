//! Writes the rows of an attempt to the store: the formatted ones first, then the JSON Lines, which are
//! the commit, and last the answers to be kept, which may fail.

use super::super::fetch::{FetchError, parse_url, transport};
use super::Shard;
use super::ask::Uploads;
use super::format;
use super::pictures::Collected;
use super::rows::Prefix;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use fovea_protocol::{Part, PartFile, Problem, Reason, ShardLine, ShardRequest, Upload};
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HOST};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::time::Instant;

/// Time for a PUT of any length, and beyond it for each MiB.
const PUT_TIMEOUT: Duration = Duration::from_secs(30);
const PUT_TIMEOUT_PER_MIB: Duration = Duration::from_secs(1);

/// First and longest wait before a part is written again.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];

/// Whether an object was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    Written,
    /// 412: it exists.
    Exists,
}

/// Writes the part, and returns the last line.
pub(super) async fn commit(shard: &Shard, collected: Collected) -> ShardLine {
    let Collected { rows, end, skipped } = collected;
    let from = shard.request.from;
    if rows.to == from && !end && shard.request.to != Some(from) {
        let why = "the attempt ended before its first picture was done";
        let problem = shard.stop.why();
        return ShardLine::Problem(problem.unwrap_or_else(|| Problem::new(Reason::NotReady, why)));
    }
    let Prefix {
        to,
        jsonl,
        succeeded,
        failed,
    } = rows;
    let (reused, answers) = shard.reuse.finish(to);
    let rows = Bytes::from(jsonl);
    let prepared = prepare(shard, rows.clone(), answers).await;
    let Prepared {
        rows_file,
        formatted,
        answers,
    } = match prepared {
        Ok(prepared) => prepared,
        Err(problem) => return ShardLine::Problem(problem),
    };
    let (formatted, formatted_file) = formatted.unzip();
    let (answers, answers_file) = answers.unzip();
    let part = Part {
        from,
        to,
        end,
        succeeded,
        failed,
        skipped,
        rows: rows_file,
        formatted: formatted_file,
        reused,
        answers: answers_file,
    };
    let bodies = Bodies {
        rows,
        formatted,
        answers,
    };
    let is_whole = end || shard.request.to == Some(to);
    let stopped = shard.stop.why().filter(|_| !is_whole);
    match write(shard, &part, &bodies).await {
        Ok(put) => {
            let metrics = &shard.app.metrics;
            metrics.shard_pictures(&shard.model.name, part.succeeded, part.failed);
            ShardLine::Done {
                part,
                exists: put == Put::Exists,
                stopped,
                // Set with the line's end.
                cost_micros: None,
            }
        }
        Err(problem) => ShardLine::Problem(problem),
    }
}

/// What is written of a part.
struct Bodies {
    rows: Bytes,
    formatted: Option<Bytes>,
    answers: Option<Bytes>,
}

/// A part before it is announced.
struct Prepared {
    rows_file: PartFile,
    formatted: Option<(Bytes, PartFile)>,
    answers: Option<(Bytes, PartFile)>,
}

/// Describes the rows, and formats them, on a thread of its own.
async fn prepare(shard: &Shard, rows: Bytes, answers: Vec<u8>) -> Result<Prepared, Problem> {
    let ShardRequest { format, task, .. } = shard.request;
    let preparing = tokio::task::spawn_blocking(move || {
        let described = |bytes: Vec<u8>| {
            let file = describe(&bytes);
            (Bytes::from(bytes), file)
        };
        Ok(Prepared {
            rows_file: describe(&rows),
            formatted: format::format(format, task, &rows)?.map(described),
            answers: (!answers.is_empty()).then(|| described(answers)),
        })
    });
    let prepared = preparing.await.map_err(|_| crate::engine::gone())?;
    prepared.map_err(|error: format::FormatError| {
        let why = format!("the rows cannot be formatted: {error}");
        Problem::new(Reason::InferenceFailed, why)
    })
}

fn describe(bytes: &[u8]) -> PartFile {
    PartFile {
        bytes: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(bytes)),
    }
}

/// Writes the objects, with new URLs while the store does not take them.
async fn write(shard: &Shard, part: &Part, bodies: &Bodies) -> Result<Put, Problem> {
    let give_up = Instant::now() + shard.app.shards.patience;
    let mut waits = ExponentialBuilder::new()
        .with_min_delay(WAITS[0])
        .with_max_delay(WAITS[1])
        .with_jitter()
        .without_max_times()
        .build();
    loop {
        let uploads = shard.ask.uploads(part.clone()).await?;
        let error = match write_once(shard, &uploads, bodies).await {
            Ok(put) => return Ok(put),
            Err(error) => error,
        };
        tracing::warn!(%error, "a part is not written");
        let wait = waits.next().unwrap_or(WAITS[1]);
        if Instant::now() + wait > give_up {
            let why = format!("the rows could not be written: {error}");
            return Err(Problem::new(Reason::FetchFailed, why));
        }
        tokio::time::sleep(wait).await;
    }
}

async fn write_once(shard: &Shard, uploads: &Uploads, bodies: &Bodies) -> Result<Put, FetchError> {
    if let (Some(bytes), Some(upload)) = (&bodies.formatted, &uploads.formatted) {
        // Where it exists, an earlier PUT of this attempt has come through after all.
        put(shard, upload, bytes).await?;
    }
    let written = put(shard, &uploads.rows, &bodies.rows).await?;
    if let (Some(bytes), Some(upload)) = (&bodies.answers, &uploads.answers)
        && let Err(error) = put(shard, upload, bytes).await
    {
        tracing::warn!(%error, "answers are not kept for reuse");
    }
    Ok(written)
}

async fn put(shard: &Shard, upload: &Upload, bytes: &Bytes) -> Result<Put, FetchError> {
    let mebibytes = u32::try_from(bytes.len() >> 20).unwrap_or(u32::MAX);
    let timeout = PUT_TIMEOUT + PUT_TIMEOUT_PER_MIB * mebibytes;
    let mut request = (shard.app.shards.uploads.get())
        .put(parse_url(&upload.url)?)
        .timeout(timeout)
        .body(bytes.clone());
    let own = [HOST.as_str(), CONTENT_LENGTH.as_str()];
    for (name, value) in &upload.headers {
        // The client sets these two itself, to the same values.
        if !own.contains(&name.to_ascii_lowercase().as_str()) {
            request = request.header(name, value);
        }
    }
    let response = request.send().await.map_err(transport)?;
    match response.status() {
        status if status.is_success() => Ok(Put::Written),
        StatusCode::PRECONDITION_FAILED => Ok(Put::Exists),
        _ => Err(FetchError::of(response).await),
    }
}
