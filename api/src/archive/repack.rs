//! Checks entries and writes those that are kept into a new tar.

use super::names::{PICTURES, Role, check, role};
use super::selection::{Digest, Selection, digest};
use super::{ArchiveError, Limits};
use crate::budget::{Budget, Reservation};
use std::collections::HashSet;
use std::io::{self, Read, Write};
use tar::{Builder, EntryType, Header};

/// Entries whose memory is reserved at once.
const ENTRY_GROUP: u64 = 16 * 1024;
/// Memory of such a group in bytes: 64 for each entry's name's digest, or where it lies in a ZIP, in a table that
/// grows by doubling.
const GROUP_BYTES: usize = 64 * 16 * 1024;

/// What an archive held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) pictures: u64,
    /// Entries that are no pictures by name, and no texts of one.
    pub(crate) skipped: u64,
}

pub(super) struct Repack<W: Write> {
    out: Builder<W>,
    limits: Limits,
    budget: Budget,
    held: Vec<Reservation>,
    entries: u64,
    /// Decompressed bytes that may still come.
    left: u64,
    /// The names so far: at most a million.
    names: HashSet<Digest>,
    /// What is kept; `None`: everything.
    selection: Option<Selection>,
    summary: Summary,
}

impl<W: Write> Repack<W> {
    pub(super) fn new(
        out: W,
        limits: Limits,
        selection: Option<Selection>,
        budget: Budget,
    ) -> Self {
        Self {
            out: Builder::new(out),
            limits,
            budget,
            held: Vec::new(),
            entries: 0,
            left: limits.total_bytes,
            names: HashSet::new(),
            selection,
            summary: Summary::default(),
        }
    }

    /// Counts an entry.
    pub(super) fn count(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ArchiveError::TooLarge(format!(
                "the archive has more than {} entries: send several",
                self.limits.entries
            )));
        }
        if self.entries % ENTRY_GROUP == 1 {
            let reserved = self.budget.try_reserve(GROUP_BYTES);
            self.held
                .push(reserved.map_err(|_| ArchiveError::NoMemory)?);
        }
        Ok(())
    }

    /// Checks the name of a file; `None` if it is skipped.
    pub(super) fn file(&mut self, name: &[u8]) -> Result<Option<String>, ArchiveError> {
        let refused = |why| ArchiveError::of_entry(name, why);
        let name = check(name).map_err(refused)?;
        if role(name) == Role::Other {
            self.summary.skipped += 1;
            return Ok(None);
        }
        let is_taken = |selection: &Selection| selection.takes(name);
        if !self.selection.as_ref().is_none_or(is_taken) {
            return Ok(None);
        }
        if !self.names.insert(digest(name)) {
            return Err(refused("is there twice: give each file a name of its own"));
        }
        Ok(Some(name.to_owned()))
    }

    /// Reads a member to its end and writes it. `fault` is the error for content that cannot be read.
    pub(super) fn add(
        &mut self,
        name: &str,
        content: impl Read,
        fault: impl FnOnce(io::Error) -> ArchiveError,
    ) -> Result<u64, ArchiveError> {
        let limit = (self.limits.member_bytes as u64).min(self.left);
        let mut bytes = Vec::new();
        let read = content.take(limit + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > limit {
            return Err(if limit < self.limits.member_bytes as u64 {
                exceeded(&self.limits)
            } else {
                ArchiveError::TooLarge(format!(
                    "the entry {name:?} has more than {limit} bytes: a picture may not be larger"
                ))
            });
        }
        read.map_err(fault)?;
        self.left -= bytes.len() as u64;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let appended = self.out.append_data(&mut header, name, bytes.as_slice());
        appended.map_err(ArchiveError::Output)?;
        if role(name) == Role::Picture {
            self.summary.pictures += 1;
        }
        Ok(bytes.len() as u64)
    }

    /// Ends the new archive.
    pub(super) fn finish(self) -> Result<Summary, ArchiveError> {
        if self.summary.pictures == 0 {
            return Err(ArchiveError::Refused(format!(
                "the archive has no picture: names of pictures end with one of .{}",
                PICTURES.join(", .")
            )));
        }
        let ended = self.out.into_inner().and_then(|mut out| out.flush());
        ended.map_err(ArchiveError::Output)?;
        Ok(self.summary)
    }
}

/// Checks the name of a folder.
pub(super) fn folder(name: &[u8]) -> Result<(), ArchiveError> {
    match check(name) {
        Ok(_) => Ok(()),
        Err(why) => Err(ArchiveError::of_entry(name, why)),
    }
}

/// The error for an archive of too many bytes.
pub(super) fn exceeded(limits: &Limits) -> ArchiveError {
    ArchiveError::TooLarge(format!(
        "the archive holds more than {} bytes, decompressed: send several",
        limits.total_bytes
    ))
}
