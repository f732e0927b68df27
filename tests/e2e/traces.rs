//! One trace from a client's request to the runner's pass.

use crate::support::sample;
use anyhow::{Result, ensure};
use fovea_harness::{Stack, StackOptions, eventually};
use fovea_tests::collector::Collector;
use std::time::Duration;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn the_three_programs_export_spans_of_the_trace_that_a_client_began() -> Result<()> {
    let collector = Collector::start().await?;
    let (name, value) = &collector.env;
    let options = StackOptions {
        env: vec![((*name).to_owned(), value.clone())],
        ..StackOptions::default()
    };
    let stack = Stack::start(options, |line| eprintln!("{line}")).await?;
    let client = reqwest::Client::new();
    let answer = client
        .post(format!("{}/v1/jobs", stack.api_url()))
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"))
        .header("prefer", "wait=60")
        .header("content-type", "image/jpeg")
        .body(sample().0)
        .send()
        .await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    // The rest of the spans is sent at the end.
    for program in [&stack.api, &stack.operator, &stack.runner] {
        program.terminate().await?;
    }
    let trace = u128::from_str_radix(TRACE, 16)?.to_be_bytes();
    eventually("spans of all three", Duration::from_secs(30), async || {
        for program in ["fovea-api", "fovea-operator", "fovea-runner"] {
            ensure!(
                collector.has_both(&trace, program.as_bytes()),
                "none of {program}"
            );
        }
        Ok(())
    })
    .await?;
    Ok(stack.stop().await?)
}
