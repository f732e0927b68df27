//! Uploads, reads, lists and waits for the given time: no errors, and stable memory.

use crate::Arguments;
use crate::setting::Setting;
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 16;
const SAMPLES: u32 = 10;

pub(crate) async fn run(setting: &Setting, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { minutes, .. } = arguments;
    eprintln!("a mixed load for {minutes} minutes");
    let whole = Duration::from_secs(60 * u64::from(*minutes));
    let until = Instant::now() + whole;
    let rounds = AtomicU64::new(0);
    let picture = Bytes::from(std::fs::read(setting.raw_body())?);
    let clients = (0..CLIENTS).map(|_| async {
        while Instant::now() < until {
            round(setting, &picture).await?;
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(())
    });
    let samples = async {
        let mut memory = Vec::new();
        for _ in 0..SAMPLES {
            tokio::time::sleep(whole / SAMPLES).await;
            memory.push(setting.api.memory_bytes()? >> 20);
        }
        anyhow::Ok(memory)
    };
    let (_, memory) = tokio::try_join!(futures::future::try_join_all(clients), samples)?;
    println!(
        "\n{minutes} minutes of mixed load, {} rounds without an error; the api's memory, MiB: {memory:?}",
        rounds.into_inner()
    );
    Ok(())
}

/// An upload, its job read, a page of the list, a short wait, and the job's end.
async fn round(setting: &Setting, picture: &Bytes) -> anyhow::Result<()> {
    let url = format!("{}/v1/jobs", setting.api.url);
    let send = |request: reqwest::RequestBuilder| async move {
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{status}: {text}");
        anyhow::Ok(text)
    };
    let upload = (setting.http.post(&url))
        .header("content-type", "image/jpeg")
        .body(picture.clone());
    let job: Value = serde_json::from_str(&send(upload).await?)?;
    let one = format!("{url}/{}", job["id"].as_str().context("no id")?);
    send(setting.http.get(&one)).await?;
    send(setting.http.get(format!("{url}?limit=20"))).await?;
    send(setting.http.get(&one).header("prefer", "wait=1")).await?;
    send(setting.http.post(format!("{one}/cancel"))).await?;
    send(setting.http.delete(&one)).await?;
    Ok(())
}
