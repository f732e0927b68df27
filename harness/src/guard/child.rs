//! Starts and stops one program of a guardian.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::sync::watch;

use super::protocol::Spawn;

/// Time for the kernel to end a process after SIGKILL; one in an uninterruptible wait needs longer.
const REAP: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Child {
    pid: Pid,
    grace: Duration,
    /// Set together with the reaping of the process, so that no signal reaches another process that has got
    /// the same pid.
    reaped: Arc<AtomicBool>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    pub(super) fn spawn(spawn: &Spawn) -> io::Result<Self> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&spawn.log)?;
        // The kernel's link to our own executable, which works even after a rebuild has replaced the file.
        let mut process = Command::new("/proc/self/exe");
        for variable in crate::PROXY_VARIABLES {
            process.env_remove(variable);
        }
        let mut process = process
            .arg("exec")
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(&spawn.program)
            .args(&spawn.args)
            .envs(spawn.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let id = process
            .id()
            .ok_or_else(|| io::Error::other("it ended at once"))?;
        let pid = Pid::from_raw(i32::try_from(id).map_err(io::Error::other)?);
        let reaped = Arc::new(AtomicBool::new(false));
        let (end, ended) = watch::channel(None);
        tokio::spawn({
            let reaped = reaped.clone();
            async move {
                let status = process.wait().await;
                reaped.store(true, Ordering::SeqCst);
                // Kills its children as well.
                killpg(pid, Signal::SIGKILL).ok();
                end.send_replace(Some(status.unwrap_or_default()));
            }
        });
        Ok(Self {
            pid,
            grace: Duration::from_millis(spawn.grace_ms),
            reaped,
            ended,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Sends a signal, unless the program has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.reaped.load(Ordering::SeqCst) {
            kill(self.pid, signal).ok();
        }
    }

    pub(super) async fn ended(&mut self) -> ExitStatus {
        match self.ended.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            Err(_) => ExitStatus::default(),
        }
    }

    /// Ends the program, even a stopped one: SIGTERM, then SIGKILL after its grace.
    pub(super) async fn end(&mut self) {
        if !self.grace.is_zero() {
            self.signal(Signal::SIGTERM);
            self.signal(Signal::SIGCONT);
            if tokio::time::timeout(self.grace, self.ended()).await.is_ok() {
                return;
            }
        }
        self.signal(Signal::SIGKILL);
        tokio::time::timeout(REAP, self.ended()).await.ok();
    }
}

/// Replaces this process with `command`, which the kernel kills when the guardian ends; returns only on
/// failure.
pub fn exec(guardian: u32, command: &[String]) -> io::Error {
    let [program, args @ ..] = command else {
        return io::Error::other("no command");
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        return error.into();
    }
    // The guardian had ended before the line above, so the kernel sends no signal.
    if nix::unistd::getppid().as_raw().unsigned_abs() != guardian {
        return io::Error::other("the guardian is gone");
    }
    let error = std::process::Command::new(program).args(args).exec();
    io::Error::new(error.kind(), format!("{program}: {error}"))
}
