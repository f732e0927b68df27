//! Programs that a test or the demo runs: each has a log, a bounded wait until it is ready, and can be sent
//! signals by fault tests.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

pub use crate::guard::Exit;
use crate::guard::{GuardError, Guarded, Guardian, Request, Spawn};
use crate::text::tail_of_file;
use crate::wait::{WaitError, eventually};

/// Number of lines of the log that an error shows.
const LOG_LINES: usize = 30;
/// Default time for a program to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// Time for the guardian to report the exit of a killed program.
const KILLED: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    grace: Duration,
}

impl Program {
    /// A program to run. `name` appears in the log and in errors. `path` is looked up in PATH unless it
    /// contains a `/`.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            grace: GRACE,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. The program inherits the rest of this process's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs it with this soft limit on open files; it can raise it up to the hard one.
    #[must_use]
    pub fn soft_open_files(mut self, limit: u32) -> Self {
        let path = std::mem::replace(&mut self.path, "sh".into());
        let script = format!(r#"ulimit -S -n {limit} && exec "$0" "$@""#);
        let before = ["-c".to_owned(), script, path.display().to_string()];
        self.args.splice(0..0, before);
        self
    }

    /// Time to end after SIGTERM; zero kills at once, for programs whose data is discarded.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error("{name} ended ({exit}) while it was awaited; its log ends:\n{log}")]
    Ended {
        name: String,
        exit: Exit,
        log: String,
    },
    #[error("{name}: {source}; its log ends:\n{log}")]
    NotReady {
        name: String,
        source: WaitError,
        log: String,
    },
    #[error("{name} still runs after {} s", waited.as_secs())]
    StillRunning { name: String, waited: Duration },
}

/// A running program. Ends with its guardian; dropping this alone does not end it.
#[derive(Debug)]
pub struct Process {
    guardian: Guardian,
    program: Program,
    guarded: Guarded,
    log: PathBuf,
}

impl Process {
    /// Starts a program with a new guardian.
    pub async fn start(program: Program) -> Result<Self, ProcessError> {
        Self::start_in(&Guardian::start().await?, program).await
    }

    /// Starts a program that ends with others, in the reverse order of their starts.
    pub async fn start_in(guardian: &Guardian, program: Program) -> Result<Self, ProcessError> {
        let log = guardian.scratch().join(format!("{}.log", program.name));
        let guarded = spawn(guardian, &program, &log).await?;
        Ok(Self {
            guardian: guardian.clone(),
            program,
            guarded,
            log,
        })
    }

    /// Starts the same program again, after stopping it if it runs. The log continues.
    pub async fn restart(&mut self) -> Result<(), ProcessError> {
        self.terminate().await?;
        self.guarded = spawn(&self.guardian, &self.program, &self.log).await?;
        Ok(())
    }

    pub fn name(&self) -> &str {
        &self.program.name
    }

    pub fn pid(&self) -> u32 {
        self.guarded.pid
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    pub fn log_tail(&self) -> String {
        tail_of_file(&self.log, LOG_LINES)
    }

    /// How the program ended; `None` while it runs.
    pub fn exit(&self) -> Option<Exit> {
        *self.guarded.exit.borrow()
    }

    /// Waits until `check` succeeds. Fails at once if the program ends.
    pub async fn wait_ready<T, E, F>(
        &self,
        what: &str,
        timeout: Duration,
        check: impl FnMut() -> F,
    ) -> Result<T, ProcessError>
    where
        F: Future<Output = Result<T, E>>,
        E: fmt::Display,
    {
        tokio::select! {
            ready = eventually(what, timeout, check) => ready.map_err(|source| {
                ProcessError::NotReady { name: self.program.name.clone(), source, log: self.log_tail() }
            }),
            error = self.ended_early() => Err(error),
        }
    }

    /// Waits for the exit of the program; returns an error about it.
    pub(crate) async fn ended_early(&self) -> ProcessError {
        match ended(&mut self.guarded.exit.clone()).await {
            Ok(exit) => ProcessError::Ended {
                name: self.program.name.clone(),
                exit,
                log: self.log_tail(),
            },
            Err(error) => error.into(),
        }
    }

    pub async fn wait_ready_http(&self, url: &str, timeout: Duration) -> Result<(), ProcessError> {
        let client = crate::tls::local_client();
        self.wait_ready(&format!("a 2xx of {url}"), timeout, || async {
            client.get(url).send().await?.error_for_status().map(drop)
        })
        .await
    }

    pub async fn wait(&self, timeout: Duration) -> Result<Exit, ProcessError> {
        let mut exit = self.guarded.exit.clone();
        match tokio::time::timeout(timeout, ended(&mut exit)).await {
            Ok(exit) => Ok(exit?),
            Err(_) => Err(ProcessError::StillRunning {
                name: self.program.name.clone(),
                waited: timeout,
            }),
        }
    }

    /// Ends the program with SIGTERM and, after its grace period, with SIGKILL.
    pub async fn terminate(&self) -> Result<Exit, ProcessError> {
        if self.exit().is_none() {
            self.guardian.request(&Request::Stop {
                id: self.guarded.id,
            })?;
        }
        self.wait(self.program.grace + KILLED).await
    }

    /// Ends the program with SIGKILL, for which it cannot prepare.
    pub async fn kill(&self) -> Result<Exit, ProcessError> {
        self.signal(Signal::SIGKILL)?;
        self.wait(KILLED).await
    }

    pub fn pause(&self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let request = Request::Signal {
            id: self.guarded.id,
            signal: signal as i32,
        };
        Ok(self.guardian.request(&request)?)
    }
}

async fn spawn(guardian: &Guardian, program: &Program, log: &Path) -> Result<Guarded, GuardError> {
    let Program {
        name: _,
        path,
        args,
        env,
        grace,
    } = program;
    guardian
        .spawn(Spawn {
            id: guardian.next_id(),
            program: path.clone(),
            args: args.clone(),
            env: env.clone(),
            log: log.to_path_buf(),
            grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        })
        .await
}

async fn ended(exit: &mut tokio::sync::watch::Receiver<Option<Exit>>) -> Result<Exit, GuardError> {
    let exit = exit
        .wait_for(Option::is_some)
        .await
        .map_err(|_| GuardError::Gone)?;
    exit.ok_or(GuardError::Gone)
}
