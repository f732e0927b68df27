//! The guardian's own process: `fovea-guard guard`.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};

use super::child::Child;
use super::protocol::{Event, PROTOCOL, Request, Spawn};

/// Environment variable that keeps the scratch folders with the logs if set to any value, to investigate a
/// failed test.
const KEEP: &str = "FOVEA_KEEP_SCRATCH";

/// Serves requests until the parent has ended, then ends all programs and removes the scratch folder.
///
/// The calling thread must live as long as the process: for the kernel it is the programs' parent.
pub fn run() -> io::Result<()> {
    let scratch = tempfile::Builder::new().prefix("fovea-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(scratch.path()))?;
    // After a signal, the reader of stdin may still block its thread.
    runtime.shutdown_background();
    if std::env::var_os(KEEP).is_some() {
        writeln!(io::stderr(), "{KEEP}: {}", scratch.keep().display()).ok();
        return Ok(());
    }
    scratch.close()
}

async fn serve(scratch: &Path) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    // These signals are handled so that they do not end this process, which ends with its parent.
    let _ignored = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ];
    let mut requests = BufReader::new(tokio::io::stdin()).lines();
    let mut children: Vec<(u64, Child)> = Vec::new();
    send(&Event::Ready {
        protocol: PROTOCOL,
        scratch: scratch.to_path_buf(),
    });
    loop {
        let line = tokio::select! {
            line = requests.next_line() => line.ok().flatten(),
            _ = terminate.recv() => None,
        };
        let Some(request) = line.and_then(|line| serde_json::from_str(&line).ok()) else {
            break;
        };
        match request {
            Request::Spawn(spawn) => children.extend(start(&spawn)),
            Request::Signal { id, signal } => {
                if let (Some(child), Ok(signal)) = (find(&children, id), Signal::try_from(signal)) {
                    child.signal(signal);
                }
            }
            Request::Stop { id } => {
                if let Some(mut child) = find(&children, id).cloned() {
                    tokio::spawn(async move { child.end().await });
                }
            }
        }
    }
    for (_, mut child) in children.into_iter().rev() {
        child.end().await;
    }
    Ok(())
}

fn start(spawn: &Spawn) -> Option<(u64, Child)> {
    let id = spawn.id;
    match Child::spawn(spawn) {
        Ok(child) => {
            send(&Event::Spawned {
                id,
                pid: child.pid(),
            });
            let mut watched = child.clone();
            tokio::spawn(async move {
                let status = watched.ended().await;
                send(&Event::Exited {
                    id,
                    code: status.code(),
                    signal: status.signal(),
                });
            });
            Some((id, child))
        }
        Err(error) => {
            send(&Event::Refused {
                id,
                reason: error.to_string(),
            });
            None
        }
    }
}

fn find(children: &[(u64, Child)], id: u64) -> Option<&Child> {
    children
        .iter()
        .find(|(other, _)| *other == id)
        .map(|(_, child)| child)
}

/// Writes one line to the parent. Errors are ignored: the closed pipe shows that the parent has ended.
fn send(event: &Event) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line).and_then(|()| stdout.flush()).ok();
    }
}
