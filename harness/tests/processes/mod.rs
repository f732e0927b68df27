//! Processes of this machine, and a parent that a test kills.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Marks the line with which [`start_parent`]'s child reports, and makes its test run.
pub(crate) const PARENT: &str = "FOVEA_DEV_TEST_PARENT";

/// Field `n` of `/proc/<pid>/stat` after the name; `None` once the process has ended, reaped or not.
pub(crate) fn stat(pid: u32, n: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields[0] != "Z").then(|| fields[n].to_owned())
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid, 1)?.parse().ok()
}

pub(crate) fn kill(pid: u32) -> Result<()> {
    let kill = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()?;
    ensure!(kill.success(), "kill {pid}: {kill}");
    Ok(())
}

/// Runs the test `the_parent_that_is_killed` of this program as a process; returns what it reports.
pub(crate) fn start_parent() -> Result<(Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "the_parent_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(PARENT, "yes")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    // The test harness writes lines, too, and the test's name before the report.
    let report = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once(PARENT)?.1.to_owned()))
        .context("the parent ended before it had started anything")?;
    Ok((child, report))
}
