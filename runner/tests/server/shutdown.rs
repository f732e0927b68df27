//! The program itself: settings that it refuses, and SIGTERM.

use crate::harness::{Lines, PATIENCE, caption, refusal, request, rgb};
use crate::store::Store;
use crate::support::checkpoint;
use fovea_protocol::{INFER_PATH, InferRequest, Line, Reason, Stage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Client;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fovea-runner"));
    command
        .arg("--model")
        .arg(format!("golden={}", checkpoint().display()))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--threads",
            "1",
            "--log-format",
            "json",
        ])
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The program and its address, once it is ready.
async fn start() -> (Child, String) {
    let mut child = program().spawn().unwrap();
    let address = until_ready(&mut child).await;
    (child, address)
}

/// Reads its JSON log until its model is ready; returns its address.
pub(crate) async fn until_ready(child: &mut Child) -> String {
    // For the clients here; an error means that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut address = None;
    let reading = async {
        while let Some(line) = log.next_line().await.unwrap() {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                address = line["address"].as_str().map(str::to_owned);
            }
            if line["message"] == "model ready" {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("not ready");
    // Read on, so that the program never blocks on its log.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    address.unwrap()
}

pub(crate) async fn post(address: &str, infer_request: &InferRequest) -> reqwest::Response {
    let body = serde_json::to_vec(infer_request).unwrap();
    let url = format!("http://{address}{INFER_PATH}");
    Client::new().post(url).body(body).send().await.unwrap()
}

#[tokio::test]
async fn sigterm_lets_running_requests_finish_and_refuses_new_ones() {
    let store = Store::start().await;
    let (mut child, address) = start().await;
    let mut running = Lines::new(post(&address, &request(store.url("/gated"))).await);
    let fetching = Line::Progress {
        stage: Stage::Fetching,
    };
    while running.next().await.unwrap() != fetching {}

    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    crate::harness::until(async || {
        let ready = Client::new()
            .get(format!("http://{address}/readyz"))
            .send()
            .await
            .unwrap();
        ready.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let refused = refusal(post(&address, &rgb()).await).await;
    assert_eq!(refused.reason, Reason::NotReady);

    store.open_gate();
    caption(&running.last().await);
    let status = tokio::time::timeout(PATIENCE, child.wait())
        .await
        .expect("no end")
        .unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn an_impossible_start_ends_with_its_reason() {
    let cases: [(&[&str], &str); 3] = [
        (&["--listen", "0.0.0.0:0"], "--tls-cert"),
        (
            &["--model", "other=/nonexistent"],
            "/nonexistent/config.json",
        ),
        (
            &["--token-file", "/nonexistent"],
            "--token-file /nonexistent",
        ),
    ];
    for (arguments, word) in cases {
        let mut command = program();
        if arguments[0] == "--listen" {
            command = Command::new(env!("CARGO_BIN_EXE_fovea-runner"));
            command.args(["--model", "a=b"]).kill_on_drop(true);
        }
        let ended = command.args(arguments).stderr(Stdio::piped()).output();
        let output = tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("no end")
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && log.contains(word), "{log}");
    }
}
