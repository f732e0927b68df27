//! The quiet tenant: a few clients that upload small pictures one after another and read their results, by
//! every way that the API offers.

use super::kind::Kind;
use super::setting::Setting;
use super::submitted;
use super::tenant::{PATIENCE, Tenant};
use crate::demo;
use anyhow::{Context as _, anyhow, ensure};
use fovea_harness::eventually;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, PostParams};
use reqwest::Method;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Concurrent clients.
const CLIENTS: usize = 4;
/// The ways to submit a picture and to learn of its result, which rounds take in turn.
const WAYS: usize = 4;
const POLL: Duration = Duration::from_millis(50);
/// Pause after a round that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// How long the quiet tenant works.
#[derive(Clone, Copy, Debug)]
pub enum Window {
    Rounds(usize),
    Time(Duration),
}

/// Why a round did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A request was not granted.
    Refused(String),
    /// What was accepted came to nothing.
    Lost(String),
}

/// What came of a window.
#[derive(Debug, Default)]
pub struct Record {
    /// Rounds that ended well.
    pub rounds: usize,
    /// Of those, the ones that ended within the window, by its length.
    pub per_second: f64,
    /// Time from the first request of each round to its last answer.
    pub rounds_ms: Vec<f64>,
    pub faults: Vec<Fault>,
}

pub(super) struct Quiet<'a> {
    tenant: &'a Tenant,
    picture: Vec<u8>,
    caption: String,
}

/// A job that has been accepted, and whether it had ended by then.
struct Accepted {
    id: String,
    ended: bool,
}

impl<'a> Quiet<'a> {
    pub(super) fn new(tenant: &'a Tenant) -> Self {
        let (picture, caption) = demo::first("captions.json");
        Self {
            tenant,
            picture,
            caption,
        }
    }

    /// Works for a window. Rounds that have begun by its end go on to their own.
    pub(super) async fn work(&self, window: Window) -> Record {
        let (next, record) = (AtomicUsize::new(0), Mutex::new(Record::default()));
        let began = Instant::now();
        let in_window = |began: Instant| match window {
            Window::Rounds(_) => true,
            Window::Time(time) => began.elapsed() < time,
        };
        let client = async || {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let over = matches!(window, Window::Rounds(rounds) if number >= rounds);
                if over || !in_window(began) {
                    break;
                }
                let round = Instant::now();
                let outcome = timeout(PATIENCE, self.round(number)).await;
                let outcome = outcome.unwrap_or_else(|_| {
                    let seconds = PATIENCE.as_secs();
                    Err(Fault::Lost(format!(
                        "a round had no end within {seconds} s"
                    )))
                });
                let failed = outcome.is_err();
                {
                    let mut record = record.lock().expect("not poisoned");
                    match outcome {
                        Ok(()) => {
                            record.rounds += 1;
                            record.per_second += f64::from(u8::from(in_window(began)));
                            let ms = round.elapsed().as_secs_f64() * 1000.0;
                            record.rounds_ms.push(ms);
                        }
                        Err(fault) => record.faults.push(fault),
                    }
                }
                if failed {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        futures::future::join_all((0..CLIENTS).map(|_| client())).await;
        let mut record = record.into_inner().expect("not poisoned");
        record.per_second /= match window {
            Window::Rounds(_) => began.elapsed().as_secs_f64(),
            Window::Time(time) => time.as_secs_f64(),
        };
        record
    }

    /// What only a hostile tenant of this kind could spoil.
    pub(super) async fn also(&self, kind: Kind, setting: &Setting) -> Result<(), Fault> {
        let done = match kind {
            Kind::Callbacks => self.callback(setting).await,
            Kind::Events => self.event().await,
            _ => Ok(()),
        };
        done.map_err(|error| Fault::Lost(format!("{error:#}")))
    }

    async fn round(&self, number: usize) -> Result<(), Fault> {
        let way = number % WAYS;
        let picture = [&self.picture[..], &number.to_be_bytes()].concat();
        let job = self.upload(&picture, way == 1).await?;
        if way == 1 && !job.ended {
            return Err(Fault::Refused("a wait was not granted".to_owned()));
        }
        if way == 2 {
            self.read(&format!("/{}/events", job.id)).await?;
        }
        self.result(&job.id).await?;
        if way == 3 {
            let downloaded = self.read(&format!("/{}/input", job.id)).await?;
            if downloaded != picture {
                return Err(Fault::Lost("the picture is another".to_owned()));
            }
            self.read("?limit=20").await?;
            self.request(Method::DELETE, &format!("/{}", job.id), 204)
                .await?;
        }
        Ok(())
    }

    async fn upload(&self, picture: &[u8], wait: bool) -> Result<Accepted, Fault> {
        let mut request = self.tenant.request(Method::POST, "");
        request = request.header("content-type", "image/jpeg");
        if wait {
            request = request.header("prefer", "wait=60");
        }
        let refused = |why: String| Fault::Refused(format!("an upload: {why}"));
        let answer = request.body(picture.to_vec()).send().await;
        let answer = answer.map_err(|error| refused(format!("{error:#}")))?;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        let job: Value = serde_json::from_str(&text).unwrap_or_default();
        match job["id"].as_str() {
            Some(id) if matches!(status, 200 | 202) => Ok(Accepted {
                id: id.to_owned(),
                ended: status == 200,
            }),
            _ => Err(refused(format!("{status}: {text}"))),
        }
    }

    /// Polls the job until it has its caption.
    async fn result(&self, id: &str) -> Result<(), Fault> {
        loop {
            let job = self.read(&format!("/{id}")).await?;
            let job: Value = serde_json::from_slice(&job).unwrap_or_default();
            match job["phase"].as_str() {
                Some("Pending" | "Running") => tokio::time::sleep(POLL).await,
                Some("Succeeded") if job["result"]["caption"] == self.caption.as_str() => {
                    return Ok(());
                }
                _ => return Err(Fault::Lost(format!("a job came to {job}"))),
            }
        }
    }

    async fn read(&self, below: &str) -> Result<Vec<u8>, Fault> {
        self.request(Method::GET, below, 200).await
    }

    async fn request(&self, method: Method, below: &str, wanted: u16) -> Result<Vec<u8>, Fault> {
        let refused = |why: String| Fault::Refused(format!("{method} {below}: {why}"));
        let broken = |error: reqwest::Error| refused(format!("{error:#}"));
        let request = self.tenant.request(method.clone(), below);
        let answer = request.send().await.map_err(broken)?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(broken)?;
        if status != wanted {
            let text = String::from_utf8_lossy(&body);
            return Err(refused(format!("{status}: {text}")));
        }
        Ok(body.to_vec())
    }

    /// A callback arrives.
    async fn callback(&self, setting: &Setting) -> anyhow::Result<()> {
        let path = format!("/{}/200", uuid::Uuid::new_v4());
        let url = format!("https://localhost:{}{path}", setting.receiver.port);
        let query = format!("?callbackUrl={url}");
        let (status, job) = self.tenant.submit(self.picture.clone(), &query).await?;
        ensure!(status == 202, "{status}: {job}");
        eventually("a callback", PATIENCE, async || {
            ensure!(!setting.receiver.received(&path).is_empty(), "none yet");
            anyhow::Ok(())
        })
        .await?;
        Ok(())
    }

    /// A job that deserves an Event gets one.
    async fn event(&self) -> anyhow::Result<()> {
        let (bad, create) = (submitted::bad(&self.picture), PostParams::default());
        let job = self.tenant.jobs.create(&create, &bad);
        let uid = job.await?.metadata.uid.context("a uid")?;
        let events: Api<Event> =
            Api::namespaced(self.tenant.client.clone(), &self.tenant.namespace);
        eventually("an Event", Duration::from_secs(15), async || {
            let all = events.list(&ListParams::default()).await?.items;
            let regarding = |event: &Event| event.regarding.clone()?.uid;
            let mut uids = all.iter().filter_map(regarding);
            uids.find(|each| *each == uid)
                .ok_or_else(|| anyhow!("none"))
        })
        .await?;
        Ok(())
    }
}
