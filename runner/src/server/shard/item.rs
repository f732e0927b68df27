//! One picture of a shard: from its URL to its row.

use super::super::fetch::FetchError;
use super::super::memory::Reservation;
use super::super::preprocess::preprocess;
use super::super::question::sha256;
use super::Shard;
use super::ask::Offer;
use super::reuse;
use super::rows::row_error;
use crate::engine::{Class, Done, Work, gone};
use crate::inference::{Item, Query};
use crate::metrics::MeasuredStage;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use fovea_protocol::{Problem, Reason, Row, ServedModel};
use http::StatusCode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Memory reserved for a file of unknown size.
const USUAL_BYTES: u64 = 1 << 20;

/// How often a URL that the store refuses is replaced.
const MAX_RENEWALS: u32 = 2;

/// First and longest wait before a download is tried again.
const WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// Why a picture has no row.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// The attempt ends early, with the pictures before this one.
    Stopped,
    /// The attempt ends with this problem.
    Ended(Problem),
}

/// Why a picture was not fetched.
enum Unfetched {
    /// It fails.
    Failed(Problem),
    Unfinished(Unfinished),
}

impl From<Problem> for Unfinished {
    fn from(problem: Problem) -> Self {
        Self::Ended(problem)
    }
}

/// The row of a picture without anything that its bytes tell.
pub(super) fn blank(key: &str, id: Option<&str>) -> Row {
    Row {
        id: id.unwrap_or(key).to_owned(),
        key: key.to_owned(),
        result: None,
        error: None,
        sha256: None,
        width: None,
        height: None,
        model: None,
        meta: BTreeMap::new(),
    }
}

/// The item's own parameters, or the request's.
pub(super) fn query(shard: &Shard, item: &fovea_protocol::Item) -> Result<Query, Problem> {
    match &item.parameters {
        None => Ok(shard.query.clone()),
        Some(parameters) => shard.model.front.head.query(parameters),
    }
}

/// Fetches and runs the picture `index` of the shard.
pub(super) async fn picture(shard: &Shard, index: u64, offer: Offer) -> Result<Row, Unfinished> {
    let mut row = blank(&offer.item.key, offer.item.id.as_deref());
    if offer.item.error.is_some() {
        row.error.clone_from(&offer.item.error);
        return Ok(row);
    }
    let query = match query(shard, &offer.item) {
        Ok(query) => query,
        Err(problem) => return failed(row, problem),
    };
    shard.progress.begin(index);
    let fetched = tokio::select! {
        biased;
        fetched = fetch(shard, index, offer) => fetched,
        () = shard.stop.stopped() => return Err(Unfinished::Stopped),
    };
    match fetched {
        Ok((bytes, memory)) => run(shard, index, row, bytes, memory, query).await,
        Err(Unfetched::Failed(problem)) => failed(row, problem),
        Err(Unfetched::Unfinished(unfinished)) => Err(unfinished),
    }
}

/// The row of a picture that fails; an error if the problem is not the picture's.
fn failed(mut row: Row, problem: Problem) -> Result<Row, Unfinished> {
    match problem.reason {
        Reason::InvalidPicture
        | Reason::PictureTooLarge
        | Reason::PictureNotFound
        | Reason::InvalidParameters
        | Reason::MalformedRequest
        | Reason::InferenceFailed
        | Reason::OutOfMemory => {
            row.error = Some(row_error(&problem));
            Ok(row)
        }
        _ => Err(Unfinished::Ended(problem)),
    }
}

/// Memory of the model's input for one picture, at most.
pub(super) fn most_input_bytes(shard: &Shard) -> u64 {
    let (height, width) = shard.model.front.preprocessor.largest();
    u64::from(height) * u64::from(width) * input_pixel_bytes()
}

/// Memory of one pixel of a model's input.
fn input_pixel_bytes() -> u64 {
    3 * size_of::<f32>() as u64
}

/// Reserves memory for a file and the model's input; more than there is counts as all there is.
pub(super) async fn reserve(shard: &Shard, file_bytes: u64) -> Result<Reservation, Unfinished> {
    let memory = &shard.app.shards.memory;
    let bytes = file_bytes.saturating_add(most_input_bytes(shard));
    let reserved = memory.take(bytes.min(memory.total_bytes)).await;
    // The budget is never closed.
    reserved.ok_or_else(|| Unfinished::Ended(gone()))
}

/// Downloads a picture, again and again while the store does not deliver it.
async fn fetch(
    shard: &Shard,
    index: u64,
    mut offer: Offer,
) -> Result<(Bytes, Reservation), Unfetched> {
    let fetcher = &shard.app.fetcher;
    let begun = Instant::now();
    let mut waits = ExponentialBuilder::new()
        .with_min_delay(WAITS[0])
        .with_max_delay(WAITS[1])
        .with_jitter()
        .without_max_times()
        .build();
    let mut give_up = None;
    let mut renewals = 0;
    let mut expected = offer.item.bytes.unwrap_or(USUAL_BYTES);
    let ended = |problem| Unfetched::Unfinished(Unfinished::Ended(problem));
    loop {
        expected = expected.min(fetcher.max_bytes);
        let mut memory = reserve(shard, expected)
            .await
            .map_err(Unfetched::Unfinished)?;
        // The semaphore is never closed.
        let permit = shard.app.shards.fetches.acquire().await;
        let url = if let Some(url) = offer.url() {
            url
        } else {
            offer = shard.ask.again(index).await.map_err(ended)?;
            offer.item.url.as_deref().unwrap_or_default()
        };
        let error = match fetcher.get(url, expected).await {
            Ok(bytes) => {
                memory.shrink(bytes.len() as u64 + most_input_bytes(shard));
                let took = begun.elapsed();
                let metrics = &shard.app.metrics;
                metrics.stage(&shard.model.name, MeasuredStage::Fetch, took);
                return Ok((bytes, memory));
            }
            Err(FetchError::Unreserved(length)) => {
                expected = length;
                continue;
            }
            Err(error) => error,
        };
        drop((memory, permit));
        match &error {
            FetchError::Status(StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST, _)
                if renewals < MAX_RENEWALS =>
            {
                renewals += 1;
                offer = shard.ask.again(index).await.map_err(ended)?;
                continue;
            }
            // An authority that was just changed reaches a pod within two minutes.
            FetchError::Status(..)
            | FetchError::Redirect(_)
            | FetchError::Transport(_)
            | FetchError::Untrusted(_) => {}
            _ => return Err(Unfetched::Failed(error.into())),
        }
        let now = Instant::now();
        let give_up = *give_up.get_or_insert(now + shard.app.shards.patience);
        let wait = waits.next().unwrap_or(WAITS[1]);
        tracing::debug!(index, %error, ?wait, "a picture is not fetched");
        if now + wait > give_up {
            shard.stop.stop(Some(error.into()));
            return Err(Unfetched::Unfinished(Unfinished::Stopped));
        }
        tokio::time::sleep(wait).await;
    }
}

/// Runs a picture whose file is in memory, which `memory` is reserved for.
pub(super) async fn run(
    shard: &Shard,
    index: u64,
    mut row: Row,
    bytes: Bytes,
    mut memory: Reservation,
    query: Query,
) -> Result<Row, Unfinished> {
    let (app, model) = (&shard.app, &shard.model);
    let measure = |stage, took| app.metrics.stage(&model.name, stage, took);
    let begun = Instant::now();
    row.sha256 = Some(sha256(bytes.clone()).await?);
    let question = reuse::question(shard, &query, row.sha256.as_deref());
    if let Some(question) = &question {
        let known = tokio::select! {
            biased;
            known = shard.reuse.answer(question) => known,
            () = shard.stop.stopped_before(index) => return Err(Unfinished::Stopped),
        };
        if let Some(answer) = known {
            return Ok(shard.reuse.reused(index, row, answer));
        }
    }
    let preparing = preprocess(app, bytes, &model.front, Arc::clone(&shard.admission));
    let prepared = tokio::select! {
        biased;
        prepared = preparing => prepared,
        () = shard.stop.stopped_before(index) => return Err(Unfinished::Stopped),
    };
    let pixels = match prepared {
        Ok(pixels) => pixels,
        Err(problem) => return failed(row, problem),
    };
    measure(MeasuredStage::Preprocess, begun.elapsed());
    memory.shrink(pixels.values().len() as u64 * size_of::<f32>() as u64);
    let picture_size = pixels.picture_size();
    (row.width, row.height) = (Some(picture_size.0), Some(picture_size.1));

    let is_current = |current: &Arc<_>| Arc::ptr_eq(current, model);
    if !app
        .engine
        .model(&model.name)
        .as_ref()
        .is_some_and(is_current)
    {
        let why = "the model has been replaced since the attempt began";
        shard.stop.stop(Some(Problem::new(Reason::NotReady, why)));
        return Err(Unfinished::Stopped);
    }
    let item = Item {
        pixels,
        query: query.clone(),
    };
    let queued = Instant::now();
    let (started, has_started) = oneshot::channel();
    let (reply, done) = oneshot::channel();
    let work = Work {
        model: Arc::clone(model),
        key: model.front.batch_key(&item),
        item,
        exclusive: shard.request.exclusive,
        cancel: shard.admission.abort.token.clone(),
        started,
        reply,
        hold: Arc::new((Arc::clone(&shard.admission), memory)),
        ticket: app.metrics.queue(&model.name),
        class: Class::Shard(shard.admission.id()),
    };
    let starting = async {
        app.engine.submit(work).await?;
        // An error means that the engine has ended; the reply reports that.
        let _ = has_started.await;
        Ok::<_, Problem>(())
    };
    tokio::select! {
        biased;
        started = starting => started?,
        // The reply's receiver is dropped, so that the engine discards the picture.
        () = shard.stop.stopped_before(index) => return Err(Unfinished::Stopped),
    }
    shard.stop.run(index);
    measure(MeasuredStage::Queue, queued.elapsed());
    let Done {
        answer,
        took,
        share,
        ..
    } = match done.await.unwrap_or_else(|_| Err(gone())) {
        Ok(done) => done,
        Err(problem) => return failed(row, problem),
    };
    shard.admission.spend(share);
    measure(MeasuredStage::Infer, took);
    match model.front.head.result(&query, answer, picture_size) {
        Ok(result) => row.result = Some(result),
        Err(problem) => return failed(row, problem),
    }
    row.model = Some(ServedModel {
        name: model.name.clone(),
        revision: model.revision().unwrap_or_default(),
    });
    shard.reuse.keep(index, question.as_deref(), &row);
    Ok(row)
}
