//! Shards of a runner without models: the key of each picture says what becomes of it.
//!
//! | key contains | what happens |
//! |---|---|
//! | `bad` | its row has the error `InvalidPicture` |
//! | `slow` | it takes a second |
//! | `kill` | the runner crashes, unless the operator says that the picture has failed |
//! | `greedy` | the runner asks for items outside of its range |
//! | anything else | its caption is its key |

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use fovea_protocol::{
    HEARTBEAT_INTERVAL, InferResult, Item, MAX_WINDOW, NDJSON_CONTENT_TYPE, Order, Part, PartFile,
    Problem, Progress, Reason, Row, RowError, ServedModel, ShardLine, ShardRequest, Upload,
};
use futures::{StreamExt as _, TryStreamExt as _};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;

/// Shards at once.
pub(crate) const SHARD_SLOTS: u32 = 2;

/// An attempt at a shard.
#[derive(Clone, Debug)]
pub struct ShardAttempt {
    pub request: ShardRequest,
    /// Number of pictures that are done.
    pub done: usize,
    /// Part that it wrote; `None` if it wrote none.
    pub part: Option<Part>,
    /// Whether there was such a part.
    pub exists: bool,
}

/// What a shard does to its runner.
pub(crate) trait Runner: Clone + Send + Sync + 'static {
    /// Records an attempt; returns its number and what breaks it.
    fn begun(&self, request: &ShardRequest) -> Result<(usize, CancellationToken), Problem>;
    fn progressed(&self, number: usize, done: usize);
    fn ended(&self, number: usize, part: &Part, exists: bool);
    fn crash(&self);
}

type Lines = mpsc::Sender<std::io::Result<ShardLine>>;

/// Why the answer breaks off.
struct Broken;

pub(crate) fn shard(runner: impl Runner, body: Body) -> Response {
    let (lines, answer) = mpsc::channel(16);
    tokio::spawn(async move {
        if run(&runner, body, &lines).await.is_err() {
            let broken = std::io::Error::other("this test breaks off");
            let _ = lines.send(Err(broken)).await;
        }
    });
    let answer = ReceiverStream::new(answer).map_ok(|line| {
        let mut json = serde_json::to_vec(&line).expect("a line is JSON");
        json.push(b'\n');
        json
    });
    let kind = [(header::CONTENT_TYPE, NDJSON_CONTENT_TYPE)];
    (kind, Body::from_stream(answer)).into_response()
}

async fn run(runner: &impl Runner, body: Body, lines: &Lines) -> Result<(), Broken> {
    let bytes = body.into_data_stream().map_err(std::io::Error::other);
    let orders = FramedRead::new(StreamReader::new(bytes), LinesCodec::new());
    let orders = orders.map(|line| {
        let line = line.map_err(|_| Broken)?;
        serde_json::from_str::<Order>(&line).map_err(|_| Broken)
    });
    let mut orders = std::pin::pin!(orders);
    let Some(Ok(Order::Shard(request))) = orders.next().await else {
        return Err(Broken);
    };
    let (number, broken) = match runner.begun(&request) {
        Ok(begun) => begun,
        Err(problem) => return say(lines, ShardLine::Problem(problem)).await,
    };
    say(lines, ShardLine::Heartbeat(Progress::default())).await?;
    let shard = Shard {
        runner,
        request,
        number,
        lines,
    };
    let beats = async {
        loop {
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            say(lines, ShardLine::Heartbeat(Progress::default())).await?;
        }
    };
    tokio::select! {
        () = broken.cancelled() => Err(Broken),
        ended = shard.work(&mut orders) => ended,
        ended = beats => ended,
    }
}

async fn say(lines: &Lines, line: ShardLine) -> Result<(), Broken> {
    lines.send(Ok(line)).await.map_err(|_| Broken)
}

struct Shard<'a, R> {
    runner: &'a R,
    request: ShardRequest,
    number: usize,
    lines: &'a Lines,
}

impl<R: Runner> Shard<'_, R> {
    async fn work(
        &self,
        orders: &mut (impl futures::Stream<Item = Result<Order, Broken>> + Unpin),
    ) -> Result<(), Broken> {
        let ShardRequest { from, to, .. } = self.request;
        let to = to.expect("the scripts know no archives");
        let mut rows = Vec::new();
        let mut next = from;
        let mut finished = false;
        while next < to && !finished {
            let count = u32::try_from(to - next).unwrap_or(u32::MAX).min(MAX_WINDOW);
            say(self.lines, ShardLine::Want { from: next, count }).await?;
            let items = match orders.next().await.ok_or(Broken)?? {
                Order::Items { items, .. } => items,
                Order::Finish => break,
                _ => return Err(Broken),
            };
            for item in items {
                if item.key.contains("slow") {
                    let second = tokio::time::sleep(Duration::from_secs(1));
                    tokio::select! {
                        () = second => {}
                        order = orders.next() => match order.ok_or(Broken)?? {
                            Order::Finish => finished = true,
                            _ => return Err(Broken),
                        },
                    }
                    if finished {
                        break;
                    }
                }
                if item.key.contains("greedy") && item.error.is_none() {
                    let count = MAX_WINDOW;
                    say(
                        self.lines,
                        ShardLine::Want {
                            from: to + 1,
                            count,
                        },
                    )
                    .await?;
                    return match orders.next().await {
                        Some(Ok(Order::Items { .. })) => panic!("items outside of the range"),
                        _ => Err(Broken),
                    };
                }
                if item.key.contains("kill") && item.error.is_none() {
                    self.runner.crash();
                    return Err(Broken);
                }
                rows.push(self.row(item));
                self.runner.progressed(self.number, rows.len());
                next += 1;
            }
        }
        self.put(orders, rows, next, next == to).await
    }

    fn row(&self, item: Item) -> Row {
        let error = item.error.or_else(|| {
            item.key.contains("bad").then(|| RowError {
                reason: "InvalidPicture".to_owned(),
                message: "says its key".to_owned(),
            })
        });
        Row {
            id: item.id.unwrap_or_else(|| item.key.clone()),
            result: error
                .is_none()
                .then(|| InferResult::Caption(item.key.clone())),
            key: item.key,
            error,
            sha256: None,
            width: None,
            height: None,
            model: Some(ServedModel {
                name: self.request.model.clone(),
                revision: "scripted".to_owned(),
            }),
            meta: BTreeMap::new(),
        }
    }

    /// Announces the rows, writes them where the operator says, and ends.
    async fn put(
        &self,
        orders: &mut (impl futures::Stream<Item = Result<Order, Broken>> + Unpin),
        rows: Vec<Row>,
        to: u64,
        end: bool,
    ) -> Result<(), Broken> {
        let failed = rows.iter().filter(|row| row.error.is_some()).count() as u64;
        let mut text = Vec::new();
        for row in &rows {
            text.extend(serde_json::to_vec(row).expect("a row is JSON"));
            text.push(b'\n');
        }
        let part = Part {
            from: self.request.from,
            to,
            end: end && self.request.to.is_none(),
            succeeded: rows.len() as u64 - failed,
            failed,
            skipped: 0,
            rows: PartFile {
                bytes: text.len() as u64,
                sha256: fovea_store::Sha256::of(&text).to_string(),
            },
            formatted: None,
            reused: 0,
            answers: None,
        };
        if rows.is_empty() {
            let problem = Problem::new(Reason::NotReady, "nothing was done");
            return say(self.lines, ShardLine::Problem(problem)).await;
        }
        say(self.lines, ShardLine::Ready(part.clone())).await?;
        let Upload { url, headers } = loop {
            match orders.next().await.ok_or(Broken)?? {
                Order::Part { rows, .. } => break rows,
                Order::Finish => {}
                _ => return Err(Broken),
            }
        };
        let put = reqwest::Client::new().put(url).body(text);
        let put = headers.into_iter().fold(put, |put, (name, value)| {
            if name.eq_ignore_ascii_case("content-length") {
                return put; // reqwest sets it.
            }
            put.header(name, value)
        });
        let answer = put.send().await.map_err(|_| Broken)?;
        let exists = answer.status() == reqwest::StatusCode::PRECONDITION_FAILED;
        if !exists && !answer.status().is_success() {
            eprintln!("the part was not taken: {:?}", answer.text().await);
            return Err(Broken);
        }
        self.runner.ended(self.number, &part, exists);
        let done = ShardLine::Done {
            part,
            exists,
            stopped: None,
            cost_micros: None,
        };
        say(self.lines, done).await
    }
}
