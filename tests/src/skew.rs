//! A program whose wall clock is wrong.

use anyhow::{Context as _, ensure};
use std::path::Path;
use std::process::Command;

/// A wall clock for programs with the variables [`Clock::env`].
pub struct Clock {
    scratch: tempfile::TempDir,
}

impl Clock {
    /// Starts `seconds` ahead of the real time.
    pub fn new(seconds: i64) -> anyhow::Result<Self> {
        let clock = Self {
            scratch: tempfile::tempdir()?,
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/skew.c");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&clock.file("skew.so"), &source])
            .output()
            .context("cc")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cc: {complaint}");
        clock.set(seconds)?;
        Ok(clock)
    }

    /// Sets the clock's offset from now on, in seconds.
    pub fn set(&self, seconds: i64) -> anyhow::Result<()> {
        Ok(std::fs::write(self.file("seconds"), seconds.to_string())?)
    }

    pub fn env(&self) -> Vec<(String, String)> {
        let path = |name| self.file(name).display().to_string();
        vec![
            ("LD_PRELOAD".to_owned(), path("skew.so")),
            ("SKEW_FILE".to_owned(), path("seconds")),
        ]
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }
}
