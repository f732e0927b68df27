//! Celery with Redis, driven over a pipe.

use crate::Arguments;
use anyhow::Context as _;
use fovea_harness::{Process, Program, ports};
use serde::Deserialize;
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
    _redis: Process,
    _workers: Process,
    _driver: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize)]
struct Drained {
    per_second: f64,
}

#[derive(Deserialize)]
struct OneByOne {
    milliseconds: Vec<f64>,
}

impl Peer {
    pub(crate) async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
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
        let url = format!("redis://127.0.0.1:{port}/0");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/operator");
        let workers = Program::new("celery", &arguments.python)
            .args(["-m", "celery", "--app=peer"])
            .arg(format!("--workdir={}", folder.display()))
            .args(["worker", "--concurrency=2", "--loglevel=ERROR"])
            .args(["--without-gossip", "--without-mingle"])
            .env("PYTHONPATH", folder.display().to_string())
            .env("REDIS_URL", &url);
        let workers = Process::start(workers).await?;
        let mut driver = Command::new(&arguments.python)
            .arg(folder.join("peer.py"))
            .env("REDIS_URL", &url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let commands = driver.stdin.take().context("no stdin")?;
        let answers = driver.stdout.take().context("no stdout")?;
        let mut peer = Self {
            _redis: redis,
            _workers: workers,
            _driver: driver,
            commands,
            answers: BufReader::new(answers).lines(),
        };
        // The first one waits for the workers.
        tokio::time::timeout(READY, peer.one(10)).await??;
        Ok(peer)
    }

    /// Tasks per second, from the first submission to the last result.
    pub(crate) async fn drain(&mut self, count: usize) -> anyhow::Result<f64> {
        let Drained { per_second } = serde_json::from_value(self.command("drain", count).await?)?;
        Ok(per_second)
    }

    /// Duration of each of `count` jobs, one after another.
    pub(crate) async fn one(&mut self, count: usize) -> anyhow::Result<Vec<f64>> {
        let OneByOne { milliseconds } = serde_json::from_value(self.command("one", count).await?)?;
        Ok(milliseconds)
    }

    async fn command(&mut self, command: &str, count: usize) -> anyhow::Result<Value> {
        let line = format!("{command} {count}\n");
        self.commands.write_all(line.as_bytes()).await?;
        let answer = self.answers.next_line().await?;
        Ok(serde_json::from_str(&answer.context("the peer ended")?)?)
    }
}
