//! `make demo`: captions two pictures, labels one and detects objects in one, through the HTTP API
//! and through kubectl.

mod next_steps;
mod results;

use anyhow::{Context, Result, bail, ensure};
use fovea_harness::stack::{Stack, StackOptions, repository};
use results::{Samples, by_http, caption_by_kubectl};
use serde_json::Value;
use std::time::Instant;

/// The API's default port, as in the services that it replaces.
pub(crate) const PORT: u16 = 8000;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// Exit after the check instead of running until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Port on 127.0.0.1 that the API listens on
    #[arg(long, default_value_t = PORT)]
    port: u16,
}

/// Runs the demo; an error where an answer is wrong.
pub(crate) async fn run(options: DemoOptions) -> Result<()> {
    let begun = Instant::now();
    ensure_free(options.port)?;
    let say = |line: &str| eprintln!("[{:5.1} s] {line}", begun.elapsed().as_secs_f32());
    let samples = Samples::read(&repository().join("models/demo/pictures"))?;
    let starting = Stack::start(
        StackOptions {
            api_port: Some(options.port),
            without_controller_manager: true,
            ..Default::default()
        },
        say,
    );
    let stack = tokio::select! {
        stack = starting => stack?,
        interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
    };
    let checked = tokio::select! {
        checked = check(&stack, &samples) => checked,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    };
    if checked.is_ok() && !options.once {
        next_steps::print(&stack, &samples);
        tokio::signal::ctrl_c().await?;
        say("stopping");
    }
    stack.stop().await?;
    checked
}

async fn check(stack: &Stack, samples: &Samples) -> Result<()> {
    let [first, second] = samples.captions()?;
    upload(stack, &first.file, "image-to-text");
    let result = by_http(stack, &first.path, "image-to-text").await?;
    let caption = expect(&first.file, &result["caption"], &first.expected.into())?;
    println!("  caption: {caption}");

    let lone = samples.label()?;
    upload(stack, &lone.file, "image-classification");
    let result = by_http(stack, &lone.path, "image-classification").await?;
    let best = &result["predictions"][0];
    let label = expect(&lone.file, &best["label"], &lone.expected.into())?;
    println!(
        "  label:   {label} ({:.3})",
        best["score"].as_f64().unwrap_or(0.0)
    );

    let several = samples.objects()?;
    upload(stack, &several.file, "object-detection");
    let result = by_http(stack, &several.path, "object-detection").await?;
    let objects = result["detections"].as_array().cloned().unwrap_or_default();
    let mut labels: Vec<_> = objects
        .iter()
        .map(|object| object["label"].clone())
        .collect();
    labels.sort_by_key(ToString::to_string);
    expect(&several.file, &labels.into(), &several.expected.into())?;
    for object in &objects {
        println!("  object:  {object}");
    }

    println!(
        "\nkubectl apply -f -  <- an InferenceJob with {} inline",
        second.file
    );
    let result = caption_by_kubectl(stack, &second.path).await?;
    let caption = expect(&second.file, &result["caption"], &second.expected.into())?;
    println!("  caption: {caption}");
    let listed = stack
        .control_plane
        .kubectl(&["get", "ij"])
        .await?
        .success("get ij")?;
    println!("\nkubectl get ij\n{listed}");
    Ok(())
}

fn upload(stack: &Stack, file: &str, task: &str) {
    println!("\nPOST {}/v1/jobs  <- {file}, {task}", stack.api_url());
}

/// The answer as text; an error if it is not the expected one.
fn expect(file: &str, got: &Value, expected: &Value) -> Result<String> {
    ensure!(
        got == expected,
        "{file}: the answer should be {expected}, and is {got}"
    );
    Ok(got.as_str().map_or_else(|| got.to_string(), str::to_owned))
}

fn ensure_free(port: u16) -> Result<()> {
    match std::net::TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {port} is taken by another program: end it, or choose another one with `make demo PORT=...`"
            )
        }
        Err(error) => Err(error).with_context(|| format!("listening on port {port}")),
    }
}
