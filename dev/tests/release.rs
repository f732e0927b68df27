//! `fovea-dev release` rejects a bad commit before it builds anything.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A checkout that passes every check of a release.
fn checkout() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let at = folder.path();
    fs::create_dir_all(at.join("charts/fovea"))?;
    fs::write(
        at.join("charts/fovea/Chart.yaml"),
        format!("version: {VERSION}\nappVersion: {VERSION}\n"),
    )?;
    fs::write(
        at.join("CHANGELOG.md"),
        format!("# Changelog\n\n## [{VERSION}] - 2026-11-30\n\n- all\n"),
    )?;
    git(at, &["init", "--quiet"])?;
    commit(at)?;
    Ok(folder)
}

fn commit(at: &Path) -> Result<()> {
    git(at, &["add", "--all"])?;
    let who = ["-c", "user.name=Test", "-c", "user.email=test@example.com"];
    git(
        at,
        &[&who[..], &["commit", "--quiet", "--message", "all"]].concat(),
    )
}

fn git(at: &Path, arguments: &[&str]) -> Result<()> {
    let done = Command::new("git")
        .args(arguments)
        .current_dir(at)
        .output()?;
    ensure!(done.status.success(), "git {arguments:?}: {done:?}");
    Ok(())
}

/// The error of a release of the checkout, if any.
fn objection(at: &Path, more: &[&str]) -> Result<Option<String>> {
    let out = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_fovea-dev"))
        .args(["release", "--check", "--binaries", "nowhere", "--out"])
        .arg(out.path())
        .args(more)
        .current_dir(at)
        .output()?;
    let left = fs::read_dir(out.path())?.count();
    ensure!(!output.status.success() || left == 0, "{left} files left");
    let text = String::from_utf8(output.stderr)?;
    Ok((!output.status.success()).then_some(text))
}

#[test]
fn a_commit_with_its_day_and_version_can_be_released() -> Result<()> {
    assert_eq!(objection(checkout()?.path(), &[])?, None);
    Ok(())
}

#[test]
fn changes_that_are_not_committed_are_named_and_are_for_trials_alone() -> Result<()> {
    let checkout = checkout()?;
    fs::write(checkout.path().join("more"), "")?;
    let text = objection(checkout.path(), &[])?.unwrap_or_default();
    ensure!(
        text.contains("?? more") && text.contains("TRIAL=1"),
        "{text}"
    );
    assert_eq!(objection(checkout.path(), &["--trial"])?, None);
    Ok(())
}

#[test]
fn a_version_without_its_day_is_for_trials_alone() -> Result<()> {
    let checkout = checkout()?;
    fs::write(
        checkout.path().join("CHANGELOG.md"),
        format!("\n## [{VERSION}] - unreleased\n"),
    )?;
    commit(checkout.path())?;
    let text = objection(checkout.path(), &[])?.unwrap_or_default();
    ensure!(text.contains("write the day"), "{text}");
    assert_eq!(objection(checkout.path(), &["--trial"])?, None);
    Ok(())
}

#[test]
fn a_changelog_or_a_chart_of_another_version_is_never_released() -> Result<()> {
    for (file, text) in [
        ("CHANGELOG.md", "\n## [0.0.1] - 2026-11-30\n"),
        (
            "charts/fovea/Chart.yaml",
            "version: 0.0.1\nappVersion: 0.0.1\n",
        ),
    ] {
        let checkout = checkout()?;
        fs::write(checkout.path().join(file), text)?;
        commit(checkout.path())?;
        let text = objection(checkout.path(), &["--trial"])?.unwrap_or_default();
        let name = file.rsplit('/').next().unwrap_or(file);
        ensure!(text.contains(name) && text.contains(VERSION), "{text}");
    }
    Ok(())
}
