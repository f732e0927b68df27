//! A module that loops for ever holds the one thread that owns the device: the process ends.

use crate::harness::{PATIENCE, inline, request};
use crate::shutdown::{post, until_ready};
use fovea_protocol::{InferRequest, Line, Task};
use image::{ImageFormat, Rgb, RgbImage};
use std::io::Cursor;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// A request for the label of a uniform picture of this level.
fn even(level: u8) -> InferRequest {
    let mut png = Cursor::new(Vec::new());
    RgbImage::from_pixel(8, 8, Rgb([level; 3]))
        .write_to(&mut png, ImageFormat::Png)
        .unwrap();
    let mut infer_request = request(inline(png.get_ref()));
    "loops".clone_into(&mut infer_request.model);
    infer_request.task = Task::ImageClassification;
    infer_request.parameters.max_new_tokens = None;
    infer_request
}

#[tokio::test]
async fn a_model_in_an_endless_loop_ends_the_process_and_its_reader_sees_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torchscript/loops");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fovea-runner"));
    command
        .arg(format!("--model=loops={}", folder.display()))
        .args(["--listen=127.0.0.1:0", "--threads=1", "--log-format=json"])
        .args(["--watchdog-factor=1", "--watchdog-grace-seconds=1"])
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let address = until_ready(&mut child).await;

    let dark = crate::harness::Lines::new(post(&address, &even(0)).await);
    assert!(matches!(dark.last().await, Line::Result { .. }));

    let mut bright = post(&address, &even(255)).await;
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    let status = ended.expect("the process goes on").unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
    // The stream breaks, without a last line: as from a lost runner.
    let broken = loop {
        match bright.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(broken.is_err(), "{broken:?}");
}
