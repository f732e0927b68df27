//! One writer at a time: the lock files that the hub's own tools take as well.

use super::TransferError;
use super::error::io_error;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Interval between attempts to take a lock that another process holds.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Longest wait for another process that downloads the same file.
const LONGEST_WAIT: Duration = Duration::from_mins(30);

/// Held until dropped, and given up by the system where the process ends.
#[derive(Debug)]
pub(in crate::fetch) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock at `path`, and creates its folder.
    pub(in crate::fetch) async fn take(path: &Path) -> Result<Self, TransferError> {
        let open = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            File::options().create(true).append(true).open(path)
        };
        let file = open().map_err(io_error("opening", path))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if begun.elapsed() < LONGEST_WAIT => {
                    sleep(LOOK_AGAIN).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(TransferError::Locked(path.to_owned()));
                }
                Err(TryLockError::Error(source)) => {
                    return Err(io_error("locking", path)(source));
                }
            }
        }
    }
}
