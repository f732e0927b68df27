//! Celery with Redis, driven over a pipe.

use crate::Arguments;
use anyhow::Context as _;
use fovea_harness::{Minio, Process, Program, ports, stack};
use fovea_tests::measure::processor_ms;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const READY: Duration = Duration::from_secs(30);

/// Redis, two workers and their client.
pub(crate) struct Peer {
    redis: Process,
    workers: Process,
    driver: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    pub(crate) async fn start(arguments: &Arguments, minio: &Minio) -> anyhow::Result<Self> {
        let [port] = ports::free()?;
        let redis = Program::new("redis", &arguments.redis)
            .arg(format!("--port {port}"))
            .args(["--bind 127.0.0.1", "--save \"\"", "--appendonly no"]);
        let redis = Process::start(redis).await?;
        redis
            .wait_ready("redis", READY, || async move {
                TcpStream::connect(("127.0.0.1", port)).await.map(drop)
            })
            .await?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/batch");
        let env = [
            ("PYTHONPATH", folder.display().to_string()),
            ("REDIS_URL", format!("redis://127.0.0.1:{port}/0")),
            ("S3_ENDPOINT", minio.endpoint().to_owned()),
            ("S3_BUCKET", stack::BUCKET.to_owned()),
            ("AWS_ACCESS_KEY_ID", minio.access_key().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", minio.secret_key().to_owned()),
        ];
        let workers = Program::new("celery", &arguments.python)
            .args(["-m", "celery", "--app=peer"])
            .arg(format!("--workdir={}", folder.display()))
            .args(["worker", "--concurrency=2", "--loglevel=ERROR"])
            .args(["--without-gossip", "--without-mingle"]);
        let workers = env
            .iter()
            .fold(workers, |program, (name, value)| program.env(*name, value));
        let workers = Process::start(workers).await?;
        let mut driver = Command::new(&arguments.python)
            .arg(folder.join("peer.py"))
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let commands = driver.stdin.take().context("no stdin")?;
        let answers = driver.stdout.take().context("no stdout")?;
        Ok(Self {
            redis,
            workers,
            driver,
            commands,
            answers: BufReader::new(answers).lines(),
        })
    }

    /// Draws the pictures and their archives into two folders below `folder`; returns their bytes.
    pub(crate) async fn draw(&mut self, count: usize, folder: &Path) -> anyhow::Result<u64> {
        let answer = self
            .command(&format!("draw {count} {}", folder.display()))
            .await?;
        answer["bytes"].as_u64().context("no bytes")
    }

    /// Tasks per second, from the first submission to the last result.
    pub(crate) async fn drain(&mut self, count: usize, prefix: &str) -> anyhow::Result<f64> {
        let answer = self.command(&format!("drain {count} {prefix}")).await?;
        answer["per_second"].as_f64().context("no rate")
    }

    /// Processor time of all so far, in milliseconds.
    pub(crate) fn processor_ms(&self) -> anyhow::Result<f64> {
        let driver = self.driver.id().context("it has ended")?;
        let pids = [self.redis.pid(), self.workers.pid(), driver];
        pids.into_iter().map(processor_ms).sum()
    }

    async fn command(&mut self, command: &str) -> anyhow::Result<Value> {
        self.commands
            .write_all(format!("{command}\n").as_bytes())
            .await?;
        let answer = self.answers.next_line().await?;
        Ok(serde_json::from_str(&answer.context("the peer ended")?)?)
    }
}
