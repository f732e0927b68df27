//! No process or file outlives its parent.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fovea_harness::guard::Guardian;
use fovea_harness::{Process, Program, eventually};

mod processes;
use processes::{PARENT, kill, parent, start_parent, stat};

const LONG: Duration = Duration::from_secs(30);

fn shell(name: &str, script: &str) -> Program {
    Program::new(name, "/bin/sh").args(["-c", script])
}

fn sleeper() -> Program {
    Program::new("sleeper", "sleep").arg("1000")
}

fn state(pid: u32) -> Option<String> {
    stat(pid, 0)
}

async fn all_gone(pids: &[u32], scratch: &Path) -> Result<()> {
    let gone = eventually("the end of what was started", LONG, || async {
        for &pid in pids {
            ensure!(state(pid).is_none(), "process {pid} runs");
        }
        ensure!(!scratch.exists(), "{} exists", scratch.display());
        Ok(())
    });
    Ok(gone.await?)
}

async fn gone(pid: u32) -> Result<()> {
    all_gone(&[pid], Path::new("/nowhere")).await
}

/// The error of a wait for a program that is never ready.
async fn error_of(program: Program) -> Result<String> {
    let process = Process::start(program).await?;
    let never = || async { Err::<(), _>("not ready") };
    let ready = process.wait_ready("readiness", LONG, never).await;
    Ok(ready.err().context("it is ready")?.to_string())
}

/// Waits until a shell that prints `ready` has set its trap.
async fn trap_is_set(process: &Process) -> Result<()> {
    let is_set = || async {
        let tail = process.log_tail();
        tail.contains("ready").then_some(()).ok_or("not set")
    };
    process.wait_ready("its trap", LONG, is_set).await?;
    Ok(())
}

/// Not a test: this is the process that the next one kills.
#[tokio::test]
#[ignore = "run by another test"]
async fn the_parent_that_is_killed() -> Result<()> {
    if std::env::var_os(PARENT).is_some() {
        let guardian = Guardian::start().await?;
        let one = Process::start_in(&guardian, sleeper()).await?;
        let two = shell("stubborn", "trap '' TERM; sleep 1000").grace(Duration::from_millis(100));
        let two = Process::start_in(&guardian, two).await?;
        let scratch = guardian.scratch().display();
        println!("{PARENT} {} {} {scratch}", one.pid(), two.pid());
        std::future::pending::<()>().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_parent_that_is_killed_leaves_no_process_and_no_file() -> Result<()> {
    let (mut child, line) = start_parent()?;
    let words: Vec<_> = line.split_whitespace().collect();
    let pids = [words[0].parse()?, words[1].parse()?];
    let scratch = PathBuf::from(words[2]);
    let guardian = parent(pids[0]).context("the program has ended")?;
    ensure!(state(pids[0]).is_some() && state(pids[1]).is_some() && scratch.is_dir());
    child.kill()?;
    child.wait()?;
    all_gone(&[pids[0], pids[1], guardian], &scratch).await
}

#[tokio::test]
async fn a_guardian_that_is_killed_takes_its_programs_with_it() -> Result<()> {
    let guardian = Guardian::start().await?;
    let process = Process::start_in(&guardian, sleeper()).await?;
    let scratch = guardian.scratch().to_path_buf();
    let pid = parent(process.pid()).context("the program has ended")?;
    kill(pid)?;
    gone(process.pid()).await?;
    let answer = process.terminate().await;
    ensure!(answer.is_err(), "the guardian still answers");
    // The one thing that only the guardian could have removed.
    fs::remove_dir_all(scratch)?;
    Ok(())
}

#[tokio::test]
async fn the_last_user_ends_the_programs() -> Result<()> {
    let process = Process::start(sleeper()).await?;
    let pid = process.pid();
    let scratch = process
        .log_path()
        .parent()
        .context("no scratch")?
        .to_path_buf();
    drop(process);
    all_gone(&[pid], &scratch).await
}

#[tokio::test]
async fn programs_end_in_the_reverse_order_of_their_starts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let order = dir.path().join("order");
    let guardian = Guardian::start().await?;
    for name in ["first", "second", "third"] {
        let script = format!(
            "trap 'echo {name} >> {}; exit' TERM; echo ready; while :; do sleep 0.02; done",
            order.display()
        );
        let process = Process::start_in(&guardian, shell(name, &script)).await?;
        trap_is_set(&process).await?;
    }
    guardian.stop().await?;
    ensure!(fs::read_to_string(&order)? == "third\nsecond\nfirst\n");
    Ok(())
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_after_its_grace() -> Result<()> {
    let stubborn = shell(
        "stubborn",
        "trap '' TERM; echo ready; while :; do sleep 0.02; done",
    );
    let process = Process::start(stubborn.grace(Duration::from_millis(200))).await?;
    trap_is_set(&process).await?;
    ensure!(process.terminate().await?.signal == Some(9));
    Ok(())
}

#[tokio::test]
async fn the_children_of_a_program_end_with_it() -> Result<()> {
    let process = Process::start(shell("parent", "sleep 1000 & echo $!; wait")).await?;
    let grandchild: u32 = process
        .wait_ready("the grandchild", LONG, || async {
            process.log_tail().trim().parse()
        })
        .await?;
    ensure!(state(grandchild).is_some());
    process.kill().await?;
    gone(grandchild).await
}

#[tokio::test]
async fn the_error_for_a_program_that_ends_early_has_the_end_of_its_log() -> Result<()> {
    let error = error_of(shell("broken", "echo no such flag >&2; exit 3")).await?;
    ensure!(error.contains("exit code 3"), "{error}");
    ensure!(error.contains("no such flag"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() -> Result<()> {
    let error = error_of(Program::new("nobody", "/nowhere/nobody")).await?;
    ensure!(error.contains("/nowhere/nobody"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_paused_program_can_be_resumed_and_can_be_terminated() -> Result<()> {
    let process = Process::start(sleeper()).await?;
    let becomes = async |wanted: &str| {
        eventually(wanted, LONG, || async {
            let state = state(process.pid());
            ensure!(state.as_deref() == Some(wanted), "{state:?}");
            Ok(())
        })
        .await
    };
    becomes("S").await?;
    process.pause()?;
    becomes("T").await?;
    process.resume()?;
    becomes("S").await?;
    process.pause()?;
    ensure!(process.terminate().await?.signal == Some(15));
    Ok(())
}

#[tokio::test]
async fn a_restart_is_a_new_process_with_the_same_log() -> Result<()> {
    let mut process = Process::start(shell("again", "echo started; exec sleep 1000")).await?;
    let first = process.pid();
    let has_lines = async |process: &Process, count: usize| {
        let check = || async {
            let lines = process.log_tail().lines().count();
            (lines == count).then_some(()).ok_or(lines)
        };
        process.wait_ready("another line", LONG, check).await
    };
    has_lines(&process, 1).await?;
    process.restart().await?;
    ensure!(process.pid() != first && state(first).is_none());
    has_lines(&process, 2).await?;
    Ok(())
}
