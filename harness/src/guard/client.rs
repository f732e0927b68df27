//! The parent's side of a guardian.
//!
//! Plain threads and blocking pipes: tests with different async runtimes share a guardian.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::error::{END, GuardError};
use super::executable;
use super::exit::Exit;
use super::protocol::{Event, PROTOCOL, Request, Spawn};

/// Time limit for the start of a guardian or a program.
const START: Duration = Duration::from_secs(30);

/// Starts programs that end, in reverse order, when the last clone of this is dropped or this
/// process ends in any way.
#[derive(Clone, Debug)]
pub struct Guardian {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` after [`Guardian::stop`].
    requests: Mutex<Option<ChildStdin>>,
    waiting: Waiting,
    executable: PathBuf,
    scratch: PathBuf,
    next_id: AtomicU64,
    /// Becomes true when the guardian has ended and been reaped.
    ended: watch::Receiver<bool>,
}

/// Waiters by the program's id.
type Waiting = Arc<Mutex<HashMap<u64, Waiter>>>;

#[derive(Debug)]
struct Waiter {
    started: Option<oneshot::Sender<Result<u32, String>>>,
    exit: watch::Sender<Option<Exit>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    /// How the program ended. The channel closes without a value if the guardian ends.
    pub(crate) exit: watch::Receiver<Option<Exit>>,
}

impl Guardian {
    pub async fn start() -> Result<Self, GuardError> {
        let path = executable::find()?;
        let mut child = Command::new(&path)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (Some(requests), Some(events)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GuardError::Gone);
        };
        let waiting = Waiting::default();
        let (ready, is_ready) = oneshot::channel();
        let (end, ended) = watch::channel(false);
        std::thread::Builder::new()
            .name("guardian".to_owned())
            .spawn({
                let waiting = waiting.clone();
                move || {
                    listen(BufReader::new(events), ready, &waiting);
                    locked(&waiting).clear();
                    child.wait().ok();
                    end.send_replace(true);
                }
            })?;
        match tokio::time::timeout(START, is_ready).await {
            Ok(Ok((PROTOCOL, scratch))) => Ok(Self {
                inner: Arc::new(Inner {
                    requests: Mutex::new(Some(requests)),
                    waiting,
                    executable: path,
                    scratch,
                    next_id: AtomicU64::new(0),
                    ended,
                }),
            }),
            Ok(_) => Err(GuardError::Stale { path }),
            Err(_) => Err(GuardError::Gone),
        }
    }

    /// A folder that the guardian removes at its end.
    pub fn scratch(&self) -> &Path {
        &self.inner.scratch
    }

    /// Path of the program `fovea-guard`, which the guardian runs.
    pub(crate) fn executable(&self) -> &Path {
        &self.inner.executable
    }

    /// Stops all programs, the last started first, and waits until they have ended.
    pub async fn stop(&self) -> Result<(), GuardError> {
        drop(locked(&self.inner.requests).take());
        let mut ended = self.inner.ended.clone();
        match tokio::time::timeout(END, ended.wait_for(|ended| *ended)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(GuardError::StillRunning),
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.inner.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) async fn spawn(&self, spawn: Spawn) -> Result<Guarded, GuardError> {
        let (id, program) = (spawn.id, spawn.program.clone());
        let (started, is_started) = oneshot::channel();
        let (exit, exited) = watch::channel(None);
        locked(&self.inner.waiting).insert(
            id,
            Waiter {
                started: Some(started),
                exit,
            },
        );
        self.request(&Request::Spawn(spawn))?;
        match tokio::time::timeout(START, is_started).await {
            Ok(Ok(Ok(pid))) => Ok(Guarded {
                id,
                pid,
                exit: exited,
            }),
            Ok(Ok(Err(reason))) => Err(GuardError::Refused { program, reason }),
            Ok(Err(_)) | Err(_) => Err(GuardError::Gone),
        }
    }

    /// Sends a request. It fits into the pipe's buffer, so this does not block.
    pub(crate) fn request(&self, request: &Request) -> Result<(), GuardError> {
        let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
        line.push(b'\n');
        let mut requests = locked(&self.inner.requests);
        let pipe = requests.as_mut().ok_or(GuardError::Gone)?;
        pipe.write_all(&line).map_err(|_| GuardError::Gone)
    }
}

/// Passes events to waiters until the guardian ends.
fn listen(
    events: impl BufRead,
    ready: oneshot::Sender<(u32, PathBuf)>,
    waiting: &Mutex<HashMap<u64, Waiter>>,
) {
    let mut ready = Some(ready);
    for line in events.lines().map_while(Result::ok) {
        let Ok(event) = serde_json::from_str::<Event>(&line) else {
            return;
        };
        let mut waiting = locked(waiting);
        match event {
            Event::Ready { protocol, scratch } => {
                ready.take().map(|ready| ready.send((protocol, scratch)));
            }
            Event::Spawned { id, pid } => {
                let started = waiting
                    .get_mut(&id)
                    .and_then(|waiter| waiter.started.take());
                started.map(|started| started.send(Ok(pid)));
            }
            Event::Refused { id, reason } => {
                let started = waiting.remove(&id).and_then(|waiter| waiter.started);
                started.map(|started| started.send(Err(reason)));
            }
            Event::Exited { id, code, signal } => {
                if let Some(waiter) = waiting.remove(&id) {
                    waiter.exit.send_replace(Some(Exit { code, signal }));
                }
            }
        }
    }
}

/// Ignores poisoning: a panic elsewhere leaves these maps and pipes valid.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
