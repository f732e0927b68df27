//! `fovea-guard hold`: the process that owns a cluster's index and the kernel objects that have the index in
//! their names: link, addresses, cgroups.
//!
//! A cluster's guardian starts the holder first and stops it last. On SIGTERM the holder removes what the
//! cluster left behind. If the holder is killed, the next owner of the index does that. A kernel lock
//! protects the index and ends with the process, so two processes never own one index.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};

use super::addresses::{Block, CLUSTERS};
use super::{cgroup, links};

/// Printed once the holder has an index.
const HOLDING: &str = "holding cluster ";

/// Folder of locks on every Linux machine, whatever its caches.
const LOCKS: &str = "/run/lock";

/// Takes an index, cleans up after its previous owner, and holds it until SIGTERM.
///
/// `scratch` is removed if the guardian cannot do it; `nodes` have a cgroup each.
pub fn run(scratch: &Path, nodes: u8) -> io::Result<()> {
    let (block, mut record) = first_free()?;
    record.set_len(0)?;
    record.write_all(scratch.as_os_str().as_encoded_bytes())?;
    for node in 1..=nodes {
        cgroup::create(&block.cgroup(), &format!("node{node}"))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        println!("{HOLDING}{}", block.0);
        terminate.recv().await;
        io::Result::Ok(())
    })?;
    remove(block)?;
    // All is removed, so the next owner of the index need not do it.
    record.set_len(0)
}

fn first_free() -> io::Result<(Block, File)> {
    for index in 0..CLUSTERS {
        if let Some((block, record)) = claim(Block(index))?
            && !links::is_taken(block)?
        {
            return Ok((block, record));
        }
    }
    Err(io::Error::other(format!(
        "of {CLUSTERS} blocks of addresses from 10.200.0.0/16 on none is free: end a cluster"
    )))
}

/// Removes what killed clusters left behind; returns how many clusters run.
pub fn sweep() -> io::Result<usize> {
    let mut running = 0;
    for index in 0..CLUSTERS {
        match claim(Block(index))? {
            Some((_, record)) => record.set_len(0)?,
            None => running += 1,
        }
    }
    Ok(running)
}

/// The index that the holder has printed to its log.
pub(super) fn held(log: &str) -> Option<Block> {
    let index = log.lines().find_map(|line| line.strip_prefix(HOLDING))?;
    index.parse().ok().map(Block)
}

/// The index and its lock, after clean-up; `None` if another process holds it.
fn claim(block: Block) -> io::Result<Option<(Block, File)>> {
    let path = PathBuf::from(LOCKS).join(format!("fovea-cluster-{}", block.0));
    let record = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)?;
    match record.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    remove(block)?;
    let scratch = PathBuf::from(fs::read_to_string(&path)?);
    // The file's content is not trusted: only a path that can be a guardian's folder is removed.
    let name = scratch.file_name().unwrap_or_default().to_string_lossy();
    if scratch.is_absolute() && name.starts_with("fovea-") && scratch.is_dir() {
        fs::remove_dir_all(&scratch)?;
    }
    Ok(Some((block, record)))
}

fn remove(block: Block) -> io::Result<()> {
    cgroup::remove(&block.cgroup())?;
    links::remove(&block.link())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_read_from_the_holders_log() {
        assert_eq!(
            held("warning: something\nholding cluster 7\n"),
            Some(Block(7))
        );
        assert_eq!(held(""), None);
    }
}
