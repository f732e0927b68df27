//! The operator's side of a shard.

use super::bucket::Bucket;
use crate::harness::{PATIENCE, Runner};
use fovea_protocol::{
    Answer, Item, Order, Parameters, Part, PartFormat, Progress, Row, SHARDS_PATH, ShardLine,
    ShardOf, ShardRequest, Task,
};
use reqwest::{Body, Client, Response};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A request for the pictures `0..count` of a shard, by the demo ViT.
pub(super) fn shard(count: usize) -> ShardRequest {
    let patience = u64::try_from(PATIENCE.as_millis()).unwrap();
    ShardRequest {
        installation: "i".to_owned(),
        epoch: 1,
        job: uuid::Uuid::new_v4().to_string(),
        shard: 0,
        attempt: 1,
        task: Task::ImageClassification,
        model: "vit".to_owned(),
        parameters: Parameters {
            top_k: Some(1),
            ..Parameters::default()
        },
        format: PartFormat::Jsonl,
        of: ShardOf::Pictures,
        from: 0,
        to: Some(count as u64),
        finish_after_millis: patience,
        deadline_millis: patience,
        exclusive: false,
        reuse: false,
    }
}

/// What the operator answers.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) bucket: Bucket,
    pub(super) items: Vec<Item>,
    /// Of the URLs.
    pub(super) lifetime: Duration,
    /// Number of the next part's names.
    pub(super) part: &'static str,
    /// What was answered before, by question.
    pub(super) known: BTreeMap<String, Answer>,
}

impl Plan {
    pub(super) fn new(bucket: &Bucket, keys: &[String]) -> Self {
        let item = |key: &String| bucket.item(key, Duration::ZERO);
        Self {
            bucket: bucket.clone(),
            items: keys.iter().map(item).collect(),
            lifetime: PATIENCE,
            part: "part",
            known: BTreeMap::new(),
        }
    }

    fn sign(&self, item: &Item) -> Item {
        let url = self.bucket.item(&item.key, self.lifetime).url;
        let url = url.filter(|_| item.error.is_none());
        Item {
            url,
            ..item.clone()
        }
    }

    fn window(&self, from: u64, count: u32) -> Order {
        let from_usize = usize::try_from(from).unwrap();
        let items = self.items.iter().skip(from_usize).take(count as usize);
        Order::Items {
            first: from,
            items: items.map(|item| self.sign(item)).collect(),
            lifetime_millis: u64::try_from(self.lifetime.as_millis()).unwrap(),
        }
    }
}

/// An attempt from the operator's side; dropping it closes the request.
pub(super) struct Attempt {
    orders: mpsc::Sender<Result<String, Infallible>>,
    response: Response,
    rest: Vec<u8>,
    /// The heartbeats so far.
    pub(super) beats: Vec<Progress>,
    /// The items that were wanted: the first, and how many.
    pub(super) wanted: Vec<(u64, u32)>,
    /// How many questions were asked at once, each time.
    pub(super) asked: Vec<usize>,
}

fn line(order: &Order) -> String {
    serde_json::to_string(order).unwrap() + "\n"
}

/// Sends the first line; the answer's head, and where to send the others.
pub(super) async fn post(
    client: &Client,
    base: &str,
    first: String,
) -> (Response, mpsc::Sender<Result<String, Infallible>>) {
    let (orders, body) = mpsc::channel(8);
    orders.send(Ok(first)).await.unwrap();
    let body = Body::wrap_stream(ReceiverStream::new(body));
    let posting = client.post(format!("{base}{SHARDS_PATH}")).body(body);
    let response = tokio::time::timeout(PATIENCE, posting.send()).await;
    (response.expect("no answer").unwrap(), orders)
}

impl Attempt {
    pub(super) async fn begin(runner: &Runner, request: &ShardRequest) -> Self {
        let base = format!("http://{}", runner.address);
        Self::begin_at(&runner.client, &base, request).await
    }

    pub(super) async fn begin_at(client: &Client, base: &str, request: &ShardRequest) -> Self {
        let first = line(&Order::Shard(request.clone()));
        let (response, orders) = post(client, base, first).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Self {
            orders,
            response,
            rest: Vec::new(),
            beats: Vec::new(),
            wanted: Vec::new(),
            asked: Vec::new(),
        }
    }

    pub(super) async fn send(&self, order: Order) {
        // An error means that the attempt has ended, as its lines tell.
        let _ = self.orders.send(Ok(line(&order))).await;
    }

    /// The next line; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<ShardLine> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk());
            self.rest.extend(chunk.await.expect("silence").unwrap()?);
        }
    }

    /// Answers one line; returns it if it is the last.
    pub(super) async fn answer(&mut self, plan: &Plan) -> Option<ShardLine> {
        match self.next().await.expect("no last line") {
            ShardLine::Heartbeat(progress) => self.beats.push(progress),
            ShardLine::Want { from, count } => {
                self.wanted.push((from, count));
                self.send(plan.window(from, count)).await;
            }
            ShardLine::Ready(part) => {
                let name = |end: &str| plan.bucket.upload(&format!("{}{end}", plan.part));
                let formatted = part.formatted.is_some().then(|| name(".formatted"));
                let rows = name(".jsonl");
                let answers = part.answers.is_some().then(|| name(".answers"));
                let order = Order::Part {
                    formatted,
                    rows,
                    answers,
                };
                self.send(order).await;
            }
            ShardLine::Ask { questions } => {
                self.asked.push(questions.len());
                let answer = |question| plan.known.get(question).cloned();
                let answers = questions.iter().map(answer).collect();
                self.send(Order::Answers { answers }).await;
            }
            last => return Some(last),
        }
        None
    }

    /// Answers until the last line.
    pub(super) async fn serve(&mut self, plan: &Plan) -> ShardLine {
        loop {
            if let Some(last) = self.answer(plan).await {
                assert!(self.next().await.is_none());
                return last;
            }
        }
    }
}

/// The part of a last line.
pub(super) fn done(line: ShardLine) -> Part {
    match line {
        ShardLine::Done {
            part,
            exists,
            stopped,
            cost_micros,
        } => {
            assert!(!exists && stopped.is_none(), "{stopped:?}");
            assert!(cost_micros.is_some());
            part
        }
        other => panic!("{other:?}"),
    }
}

/// The rows that were written, which are what the part announced.
pub(super) fn rows(plan: &Plan, part: &Part) -> Vec<Row> {
    use sha2::{Digest as _, Sha256};
    let written = plan.bucket.lock().written[&format!("{}.jsonl", plan.part)].clone();
    assert_eq!(part.rows.bytes, written.len() as u64);
    assert_eq!(part.rows.sha256, hex::encode(Sha256::digest(&written)));
    let text = std::str::from_utf8(&written).unwrap();
    let read = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let rows: Vec<Row> = read.collect();
    let failed = rows.iter().filter(|row| row.error.is_some()).count() as u64;
    assert_eq!(rows.len() as u64, part.to - part.from);
    assert_eq!(
        (part.succeeded + part.failed, part.failed),
        (rows.len() as u64, failed)
    );
    rows
}
