//! A runner in this process, on a free port, with the golden checkpoint; and its client.

use crate::support;
use fovea_protocol::{
    INFER_PATH, InferRequest, InferResult, Input, LEADER_PATH, LeaderRequest, Line, Parameters,
    Problem, Source, Task,
};
use fovea_runner::engine::{Engine, EngineConfig, EngineError, MaxBatchSize, OwnSettings, Planned};
use fovea_runner::metrics::{DeviceMemory, Metrics};
use fovea_runner::models::{self, Loader};
use fovea_runner::server::{
    App, AppConfig, FetchLimits, KeepConfig, Listener, ShardsConfig, Tls, router, serve,
};
use fovea_runner::weights::Placement;
use reqwest::{Client, Response, StatusCode};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Timeout of every condition that a test waits for, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const EIGHT: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// The settings of a test's runner: small bounds, so that tests can reach them.
pub(crate) fn settings() -> AppConfig {
    AppConfig {
        slots: 2,
        shards: ShardsConfig::default(),
        tokens: None,
        fetch: FetchLimits {
            max_bytes: 100_000,
            silence: PATIENCE,
        },
        max_picture_pixels: 1_000_000,
        max_decode_bytes: 16 << 20,
        preprocess_threads: 2,
        keep: KeepConfig::default(),
        forget_installation_after: Duration::from_hours(1),
        authorities: None,
    }
}

/// A model of a folder.
fn planned(name: &str, dir: &Path) -> Planned {
    let (front, loader) = models::open(dir).unwrap();
    Planned {
        name: name.to_owned(),
        front,
        loader,
        own: OwnSettings::default(),
    }
}

/// One of the demo's models, under its folder's name.
pub(crate) fn demo(name: &str) -> Planned {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
    planned(name, &models.join(name))
}

/// A running runner; it ends with the test.
pub(crate) struct Runner {
    pub(crate) app: Arc<App>,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) engine: Engine,
    /// Resolves when the engine's thread ends.
    pub(crate) engine_ended: oneshot::Receiver<Result<(), EngineError>>,
    _stop: oneshot::Sender<()>,
}

impl Runner {
    /// With the golden checkpoint as the model `golden`, ready.
    pub(crate) async fn start(settings: AppConfig) -> Self {
        let runner = Self::start_loading(settings, |loader| loader).await;
        runner.until_ready().await;
        runner
    }

    /// Like [`Runner::start`], with another loader, and without waiting until it is ready.
    pub(crate) async fn start_loading(
        settings: AppConfig,
        change: impl FnOnce(Loader) -> Loader,
    ) -> Self {
        Self::start_with(settings, MaxBatchSize::Fixed(EIGHT), None, change).await
    }

    /// Like [`Runner::start_loading`], with all settings.
    pub(crate) async fn start_with(
        settings: AppConfig,
        max_batch_size: MaxBatchSize,
        tls: Option<Arc<Tls>>,
        change: impl FnOnce(Loader) -> Loader,
    ) -> Self {
        let mut planned = planned("golden", &support::checkpoint());
        planned.loader = change(planned.loader);
        Self::start_planned(settings, max_batch_size, tls, vec![planned]).await
    }

    /// Without a model, until one is put.
    pub(crate) async fn start_empty(settings: AppConfig) -> Self {
        Self::start_planned(settings, MaxBatchSize::Fixed(EIGHT), None, Vec::new()).await
    }

    /// With the demo `ViT` as the model `vit`, ready.
    pub(crate) async fn start_vit(settings: AppConfig) -> Self {
        Self::start_demo(settings, vec![demo("vit")]).await
    }

    /// With the demo `ViT` and the golden checkpoint, ready.
    pub(crate) async fn start_both(settings: AppConfig) -> Self {
        let golden = planned("golden", &support::checkpoint());
        Self::start_demo(settings, vec![golden, demo("vit")]).await
    }

    /// With these models, ready.
    pub(crate) async fn start_demo(settings: AppConfig, planned: Vec<Planned>) -> Self {
        let size = MaxBatchSize::Fixed(EIGHT);
        let runner = Self::start_planned(settings, size, None, planned).await;
        runner.until_ready().await;
        runner
    }

    pub(crate) async fn start_planned(
        settings: AppConfig,
        max_batch_size: MaxBatchSize,
        tls: Option<Arc<Tls>>,
        planned: Vec<Planned>,
    ) -> Self {
        let config = EngineConfig {
            placement: Placement::CPU,
            threads: 1,
            max_batch_size,
            max_batch_pixels: 1 << 20,
            queue_bound: 8,
            watchdog_factor: 10.0,
            watchdog_grace: PATIENCE,
            load_deadline: PATIENCE,
            on_expiry: |what| {
                eprintln!("{what}");
                std::process::abort();
            },
        };
        let metrics = Arc::new(Metrics::new(DeviceMemory::of_process()));
        let (engine, engine_ended) = Engine::start(planned, config, Arc::clone(&metrics)).unwrap();
        let app = App::new(engine.clone(), settings, metrics).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = Listener { tcp, tls };
        let (stop, stopped) = oneshot::channel();
        let (routes, served) = (router(Arc::clone(&app)), Arc::clone(&app));
        tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serve(listener, routes, served, stopped, PATIENCE).await;
        });
        Self {
            app,
            address,
            client: Client::new(),
            engine,
            engine_ended,
            _stop: stop,
        }
    }

    pub(crate) async fn until_ready(&self) {
        until(async || self.get("/readyz").await.status() == StatusCode::OK).await;
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        let url = format!("http://{}{path}", self.address);
        self.client.get(url).send().await.unwrap()
    }

    /// `POST /v1/infer`; the response as soon as its head is there.
    pub(crate) async fn post(&self, request: &InferRequest) -> Response {
        self.post_body(serde_json::to_vec(request).unwrap()).await
    }

    pub(crate) async fn post_body(&self, body: impl Into<reqwest::Body>) -> Response {
        let url = format!("http://{}{INFER_PATH}", self.address);
        self.client.post(url).body(body).send().await.unwrap()
    }

    pub(crate) async fn put_leader(&self, installation: &str, epoch: u64) -> StatusCode {
        self.announce(installation, epoch, None).await.status()
    }

    /// `PUT /v1/leader` of the leader's process `holder`.
    pub(crate) async fn announce(
        &self,
        installation: &str,
        epoch: u64,
        holder: Option<&str>,
    ) -> Response {
        let leader = LeaderRequest {
            installation: installation.to_owned(),
            epoch,
            holder: holder.map(str::to_owned),
        };
        self.put(LEADER_PATH, &leader).await
    }

    pub(crate) async fn put(&self, path: &str, body: &impl serde::Serialize) -> Response {
        let url = format!("http://{}{path}", self.address);
        let body = serde_json::to_vec(body).unwrap();
        self.client.put(url).body(body).send().await.unwrap()
    }

    /// The problem with which an attempt ends.
    pub(crate) async fn problem(&self, request: &InferRequest) -> Problem {
        problem(self.last_line(request).await)
    }

    /// The problem of a request that is refused before any work begins.
    pub(crate) async fn refused(&self, request: &InferRequest) -> Problem {
        refusal(self.post(request).await).await
    }

    /// The last line of the answer, which is 200.
    pub(crate) async fn last_line(&self, request: &InferRequest) -> Line {
        let response = self.post(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        Lines::new(response).last().await
    }
}

/// A request for the golden caption of `source`.
pub(crate) fn request(source: Source) -> InferRequest {
    InferRequest {
        installation: "i".to_owned(),
        epoch: 1,
        job: uuid::Uuid::new_v4().to_string(),
        attempt: 1,
        task: Task::ImageToText,
        model: "golden".to_owned(),
        input: Input {
            source,
            sha256: None,
        },
        parameters: Parameters {
            max_new_tokens: Some(16),
            ..Parameters::default()
        },
        deadline_millis: u64::try_from(PATIENCE.as_millis()).unwrap(),
        exclusive: false,
        reuse: false,
    }
}

/// A request for the caption of the golden picture `rgb.png`.
pub(crate) fn rgb() -> InferRequest {
    request(inline(&support::picture("rgb.png")))
}

/// Bytes as a request carries them.
pub(crate) fn inline(bytes: &[u8]) -> Source {
    use base64::Engine as _;
    Source::Data(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// The caption of a line that is a result.
pub(crate) fn caption(line: &Line) -> &str {
    match line {
        Line::Result {
            result: InferResult::Caption(caption),
            ..
        } => caption,
        other => panic!("{other:?}"),
    }
}

/// The problem of a line that is one.
pub(crate) fn problem(line: Line) -> Problem {
    match line {
        Line::Problem(problem) => problem,
        other => panic!("{other:?}"),
    }
}

/// The problem in a response.
pub(crate) async fn refusal(response: Response) -> Problem {
    let status = response.status();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let problem: Problem = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(problem.status, status.as_u16());
    problem
}

/// An answer, line by line.
pub(crate) struct Lines {
    response: Response,
    rest: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let rest = Vec::new();
        Self { response, rest }
    }

    /// The next line, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk());
            self.rest.extend(chunk.await.expect("silence").unwrap()?);
        }
    }

    /// Reads to the end; returns the last line.
    pub(crate) async fn last(mut self) -> Line {
        let mut last = None;
        while let Some(line) = self.next().await {
            last = Some(line);
        }
        last.expect("no line")
    }
}

/// Polls the condition until it holds.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, asking).await;
    answered.expect("the condition did not come true");
}
