//! The program's own answers.

use std::process::{Command, Output};

use anyhow::{Result, ensure};

fn fovea_setup(path: &str, args: &[&str]) -> Result<Output> {
    let cache = tempfile::tempdir()?;
    Ok(Command::new(env!("CARGO_BIN_EXE_fovea-setup"))
        .args(args)
        .env("PATH", path)
        .env("FOVEA_CACHE", cache.path())
        .output()?)
}

#[test]
fn a_bare_machine_gets_the_full_list_of_prerequisites() -> Result<()> {
    let output = fovea_setup("/nowhere", &[])?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success());
    for need in [
        "Go 1.",
        "Python 3 with pip",
        "C and C++ compiler",
        "apt-get install",
    ] {
        ensure!(text.contains(need), "{need} is not in: {text}");
    }
    Ok(())
}

#[test]
fn only_the_requested_parts_have_prerequisites() -> Result<()> {
    let output = fovea_setup("/nowhere", &["--only", "tools"])?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(text.contains("Go 1.") && !text.contains("Python"), "{text}");
    Ok(())
}

#[test]
fn the_environment_is_a_shells() -> Result<()> {
    let output = fovea_setup("/nowhere", &["env"])?;
    let script = String::from_utf8(output.stdout)? + "\necho $LIBTORCH:$LD_LIBRARY_PATH:$PATH";
    let shell = Command::new("/bin/sh")
        .args(["-euc", &script])
        .env_remove("LD_LIBRARY_PATH")
        .output()?;
    let text = String::from_utf8(shell.stdout)?;
    ensure!(
        shell.status.success() && text.contains("libtorch-"),
        "{text}"
    );
    ensure!(text.contains("/kubernetes-v1."), "{text}");
    Ok(())
}

#[test]
fn a_kubernetes_that_is_not_supported_is_refused_before_anything_is_built() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_fovea-setup"))
        .args(["--only", "tools"])
        .env("FOVEA_KUBERNETES", "v1.30")
        .output()?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success());
    let words = "FOVEA_KUBERNETES=v1.30: Fovea is tested on v1.";
    ensure!(text.contains(words), "{text}");
    Ok(())
}
