//! Uploads a second on a store and on MinIO, in turns on one cluster without an operator; and what the store's
//! processes weigh.

use crate::bucket;
use anyhow::{Result, ensure};
use fovea_harness::stack::{self, BUCKET};
use fovea_harness::{
    ControlPlane, ControlPlaneOptions, ObjectStore, Process, Program, ServesS3 as _, StoreServer,
    ports,
};
use fovea_tests::{demo, measure, operated};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Turns of each side; a first one warms up.
const ROUNDS: usize = 3;
const TURN: Duration = Duration::from_secs(4);
const CONNECTIONS: usize = 16;
/// An upload's size.
const PICTURE_BYTES: usize = 91 * 1024;
/// Uploads after which the memory is read a second time.
const WEIGHED_UPLOADS: u64 = 2000;
const READY: Duration = Duration::from_mins(1);

pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) p99_ms: f64,
    /// Uploads a second over MinIO's, the median of the turns' own.
    pub(crate) beside_minio: f64,
    /// Until it answers.
    pub(crate) start_seconds: f64,
    pub(crate) rest_bytes: u64,
    pub(crate) loaded_bytes: u64,
}

struct Side {
    server: StoreServer,
    _api: Process,
    url: String,
}

impl Side {
    async fn start(control_plane: &ControlPlane, server: StoreServer) -> Result<Self> {
        bucket::create(&server).await?;
        let [port] = ports::free()?;
        let namespace = format!("load-{}", uuid::Uuid::new_v4().simple());
        operated::create_namespace(&control_plane.client().await?, &namespace).await?;
        let program = Program::new("fovea-api", stack::find("fovea-api")?)
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg(format!("--namespace={namespace}"))
            .env(
                "KUBECONFIG",
                control_plane.kubeconfig().display().to_string(),
            )
            .env("FOVEA_S3_ENDPOINT", server.endpoint())
            .env("FOVEA_S3_BUCKET", BUCKET)
            .env("AWS_ACCESS_KEY_ID", server.access_key())
            .env("AWS_SECRET_ACCESS_KEY", server.secret_key());
        let api = Process::start(program).await?;
        let url = format!("http://127.0.0.1:{port}");
        api.wait_ready_http(&format!("{url}/readyz"), READY).await?;
        Ok(Self {
            server,
            _api: api,
            url,
        })
    }

    fn memory_bytes(&self) -> Result<u64> {
        let weigh = |process: &Process| measure::memory_bytes(process.pid());
        self.server.processes().map(weigh).sum()
    }

    /// Uploads for a while, or until `count`; returns each one's time in milliseconds.
    async fn turn(
        &self,
        http: &reqwest::Client,
        picture: &[u8],
        until: Until,
    ) -> Result<(f64, Vec<f64>)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let (began, sent) = (Instant::now(), AtomicU64::new(0));
        let connection = async || {
            let mut times = Vec::new();
            while until.goes_on(began, sent.fetch_add(1, Ordering::Relaxed)) {
                let mut body = picture.to_vec();
                // Each upload is another object.
                let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_le_bytes();
                body[PICTURE_BYTES - number.len()..].copy_from_slice(&number);
                let before = Instant::now();
                let post = http.post(format!("{}/v1/jobs", self.url));
                let answer = post
                    .header("content-type", "image/jpeg")
                    .body(body)
                    .send()
                    .await?;
                let status = answer.status();
                let text = answer.text().await?;
                ensure!(status == 202, "{status}: {text}");
                times.push(before.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(times)
        };
        let times = futures::future::try_join_all((0..CONNECTIONS).map(|_| connection())).await?;
        let times: Vec<f64> = times.into_iter().flatten().collect();
        let seconds = began.elapsed().as_secs_f64();
        let count = u32::try_from(times.len())?;
        Ok((f64::from(count) / seconds, times))
    }
}

#[derive(Clone, Copy)]
enum Until {
    Passed(Duration),
    Sent(u64),
}

impl Until {
    fn goes_on(self, began: Instant, sent: u64) -> bool {
        match self {
            Self::Passed(time) => began.elapsed() < time,
            Self::Sent(count) => sent < count,
        }
    }
}

pub(crate) async fn measure(store: ObjectStore) -> Result<Measured> {
    let control_plane = ControlPlane::start(ControlPlaneOptions::default()).await?;
    operated::install(&control_plane.client().await?).await?;
    let began = Instant::now();
    let server = StoreServer::start(store).await?;
    let start_seconds = began.elapsed().as_secs_f64();
    let theirs = Side::start(&control_plane, server).await?;
    let minio = StoreServer::start(ObjectStore::Minio).await?;
    let minio = Side::start(&control_plane, minio).await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let (mut picture, _) = demo::first::<String>("captions.json");
    // Decoders ignore what follows a JPEG's end.
    picture.resize(PICTURE_BYTES, 0);

    let rest_bytes = theirs.memory_bytes()?;
    theirs
        .turn(&http, &picture, Until::Sent(WEIGHED_UPLOADS))
        .await?;
    let loaded_bytes = theirs.memory_bytes()?;
    minio.turn(&http, &picture, Until::Passed(TURN)).await?;
    let (mut rates, mut ratios, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (base, _) = minio.turn(&http, &picture, Until::Passed(TURN)).await?;
        let (rate, spent) = theirs.turn(&http, &picture, Until::Passed(TURN)).await?;
        rates.push(rate);
        ratios.push(rate / base);
        times.extend(spent);
    }
    Ok(Measured {
        per_second: measure::median(rates),
        p99_ms: measure::percentile(times, 99),
        beside_minio: measure::median(ratios),
        start_seconds,
        rest_bytes,
        loaded_bytes,
    })
}
