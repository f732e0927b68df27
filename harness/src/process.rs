//! Any program as a test or the demo runs it: with its log, a bounded wait until it is ready, and
//! the signals of a fault test.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

pub use crate::guard::Exit;
use crate::guard::{GuardError, Guarded, Guardian, Request, Spawn};
use crate::text::tail_of_file;
use crate::wait::{WaitError, eventually};

/// How many lines of a log an error shows.
const LOG_LINES: usize = 30;
/// How long a program has to end after SIGTERM, unless told otherwise.
const GRACE: Duration = Duration::from_secs(10);
/// How long the end of a killed program may take to be told.
const KILLED: Duration = Duration::from_secs(10);

/// A program to start.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    grace: Duration,
}

impl Program {
    /// A program under a name for its log and for errors. `path` is looked up in PATH where it has no `/`.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            grace: GRACE,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment, which is otherwise that of this process.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// How long it has to end after SIGTERM; zero: it is killed at once, which does for programs
    /// whose data is thrown away.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

/// A program did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The guardian.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// It ended before it was ready.
    #[error("{name} ended ({exit}) while it was awaited; its log ends:\n{log}")]
    Ended {
        /// The program.
        name: String,
        /// How it ended.
        exit: Exit,
        /// The last lines of its log.
        log: String,
    },
    /// It was not ready in time.
    #[error("{name}: {source}; its log ends:\n{log}")]
    NotReady {
        /// The program.
        name: String,
        /// What was awaited for how long, and what was last seen.
        source: WaitError,
        /// The last lines of its log.
        log: String,
    },
    /// It has not ended in time.
    #[error("{name} still runs after {} s", waited.as_secs())]
    StillRunning {
        /// The program.
        name: String,
        /// How long was waited.
        waited: Duration,
    },
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
    /// Starts a program with a guardian of its own.
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

    /// Starts the same program again, after ending it where it still runs. The log goes on.
    pub async fn restart(&mut self) -> Result<(), ProcessError> {
        self.terminate().await?;
        self.guarded = spawn(&self.guardian, &self.program, &self.log).await?;
        Ok(())
    }

    /// The name that was given.
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.guarded.pid
    }

    /// The file that gets its stdout and stderr.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        tail_of_file(&self.log, LOG_LINES)
    }

    /// How it ended; `None` while it runs.
    pub fn exit(&self) -> Option<Exit> {
        *self.guarded.exit.borrow()
    }

    /// Waits until `check` succeeds, and no longer once the program has ended.
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

    /// Waits for an end that nobody asked for, and gives the error that tells it.
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

    /// Waits until a GET of `url` answers 2xx.
    pub async fn wait_ready_http(&self, url: &str, timeout: Duration) -> Result<(), ProcessError> {
        crate::tls::use_ring();
        let client = reqwest::Client::new();
        self.wait_ready(&format!("a 2xx of {url}"), timeout, || async {
            client.get(url).send().await?.error_for_status().map(drop)
        })
        .await
    }

    /// Waits for its end.
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

    /// SIGTERM, and SIGKILL where it has not ended after its grace; returns how it ended.
    pub async fn terminate(&self) -> Result<Exit, ProcessError> {
        if self.exit().is_none() {
            self.guardian.ask(&Request::Stop {
                id: self.guarded.id,
            })?;
        }
        self.wait(self.program.grace + KILLED).await
    }

    /// SIGKILL: the end that no program can prepare for.
    pub async fn kill(&self) -> Result<Exit, ProcessError> {
        self.signal(Signal::SIGKILL)?;
        self.wait(KILLED).await
    }

    /// SIGSTOP: it is there, and does nothing any more.
    pub fn pause(&self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT: it goes on.
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let request = Request::Signal {
            id: self.guarded.id,
            signal: signal as i32,
        };
        Ok(self.guardian.ask(&request)?)
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
