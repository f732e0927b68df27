//! Uploaded archives of pictures (ZIP, tar, tar.gz), rewritten as one plain tar. Nothing is unpacked: members
//! pass through memory one at a time, and every size is counted while it is read, not taken from a header.
//! Synchronous: it runs on a thread of its own, between two channels.

mod channel;
mod names;
mod repack;
mod selection;
mod sniff;
mod tar;
mod zip;

pub(crate) use self::tar::{repack_tar, select_tar};
pub(crate) use self::zip::repack_zip;
pub(crate) use channel::{channel_reader, channel_writer};
pub(crate) use repack::Summary;
pub(crate) use selection::Selection;
pub(crate) use sniff::{HEAD_BYTES, Kind, sniff};

use std::io;

/// Bounds on one archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most entries, whether they are pictures or not.
    pub(crate) entries: u64,
    /// Most bytes of one member, decompressed.
    pub(crate) member_bytes: usize,
    /// Most bytes of all members together, decompressed.
    pub(crate) total_bytes: u64,
}

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The client has to send another archive.
    #[error("{0}")]
    Refused(String),
    /// It exceeds a bound on sizes.
    #[error("{0}")]
    TooLarge(String),
    /// There is no memory for the names of its entries.
    #[error("there is no memory for the archive's entries")]
    NoMemory,
    /// The rewritten archive could not be passed on.
    #[error("the archive could not be passed on: {0}")]
    Output(io::Error),
    /// The uploaded archive could not be read back.
    #[error("the uploaded archive could not be read: {0}")]
    Input(io::Error),
}

impl ArchiveError {
    /// A fault of one entry, which is named.
    fn of_entry(name: &[u8], why: &str) -> Self {
        let name = String::from_utf8_lossy(name);
        let name: String = name.chars().take(200).collect();
        Self::Refused(format!("the entry {name:?} {why}"))
    }

    fn cut_short() -> Self {
        Self::Refused(
            "the archive is cut short or damaged: check it with `unzip -t` or `tar -t`, and send it again"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests;
