//! Lock files, shared with the hub's own tools, so that a file has one writer at a time.

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

/// Held until dropped or until the process ends.
#[derive(Debug)]
pub(in crate::import) struct Lock {
    _file: File,
}

impl Lock {
    /// Creates the folder of `path` and waits for the lock.
    pub(in crate::import) async fn take(path: &Path) -> Result<Self, TransferError> {
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
