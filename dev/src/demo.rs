//! `make demo`: the main job on real input, from an upload and from kubectl to two captions.

mod captions;
mod next_steps;

use anyhow::{Context, Result, bail, ensure};
use captions::{Samples, caption_by_http, caption_by_kubectl};
use fovea_dev::stack::{Stack, StackOptions, repository};
use std::time::Instant;

/// Where the API listens, as the services that it replaces did.
pub(crate) const PORT: u16 = 8000;

/// How the demo runs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// End after the check instead of staying up till Ctrl-C
    #[arg(long)]
    once: bool,
    /// Port of the API
    #[arg(long, default_value_t = PORT)]
    port: u16,
}

/// Runs the demo; an error where a caption is wrong.
pub(crate) async fn run(options: DemoOptions) -> Result<()> {
    let begun = Instant::now();
    ensure_free(options.port)?;
    let say = |line: &str| eprintln!("[{:5.1} s] {line}", begun.elapsed().as_secs_f32());
    let samples = Samples::read(&repository().join("models/demo/pictures"))?;
    let starting = Stack::start(
        StackOptions {
            api_port: Some(options.port),
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
    let [first, second] = samples.first_two()?;
    println!("\nPOST {}/v1/jobs  <- {}", stack.api_url(), first.file);
    let by_http = caption_by_http(stack, first).await?;
    println!("  caption: {by_http}");
    println!(
        "\nkubectl apply -f -  <- an InferenceJob with {} inline",
        second.file
    );
    let by_kubectl = caption_by_kubectl(stack, second).await?;
    println!("  caption: {by_kubectl}");
    let listed = stack
        .control_plane
        .kubectl(&["get", "ij"])
        .await?
        .success("get ij")?;
    println!("\nkubectl get ij\n{listed}");
    for (sample, got) in [(first, &by_http), (second, &by_kubectl)] {
        ensure!(
            *got == sample.caption,
            "{}: the caption should be {:?}, and is {got:?}",
            sample.file,
            sample.caption
        );
    }
    Ok(())
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
