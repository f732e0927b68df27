//! The subcommand as a program.

use crate::hub::TOKEN;
use crate::setting::Setting;
use std::process::Output;
use tokio::process::Command;

async fn run(setting: &Setting, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fovea-runner"));
    command
        .env_clear()
        .envs(setting.variables.iter().map(|(name, value)| (name, value)));
    for kept in ["LD_LIBRARY_PATH", "PATH"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    // A container's settings for serving must not interfere.
    command.env("FOVEA_RUNNER_LISTEN", "127.0.0.1:1");
    command.args(arguments).output().await.unwrap()
}

#[tokio::test]
async fn fetch_prints_the_folder_to_serve_from() {
    let mut setting = Setting::new().await;
    setting.set("HF_TOKEN", TOKEN);
    setting.hub.world().closed = Some("GatedRepo");
    let output = run(&setting, &["fetch", "Salesforce/blip-tiny"]).await;
    let [printed, log] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{log}");
    let snapshot = setting.cache().join("snapshots").join(printed.trim());
    assert!(snapshot.join("model.safetensors").exists(), "{printed}");
    assert!(log.contains("model.safetensors"), "{log}");
    assert!(!log.contains(TOKEN) && !log.contains("secret"), "{log}");
}

#[tokio::test]
async fn a_failed_fetch_exits_with_an_error_and_advice() {
    let setting = Setting::new().await;
    setting.hub.world().closed = Some("GatedRepo");
    let output = run(&setting, &["fetch", "Salesforce/blip-tiny"]).await;
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{log}");
    assert!(log.contains("accept its terms"), "{log}");
    for wrong in [
        &["fetch"][..],
        &["fetch", "blip"],
        &["fetch", "a/b", "--revision", "../x"],
        &["--model", "a=b", "fetch", "a/b"],
    ] {
        let output = run(&setting, wrong).await;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    // Serving still requires a model.
    let output = run(&setting, &[]).await;
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(log.contains("--model"), "{log}");
}
