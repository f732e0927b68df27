//! Reads a tar, or a tar.gz, as a stream.
//!
//! Entries are read raw, so that the headers that extend others (long names, PAX) are bounded here: the crate
//! would read them into memory whatever their size. Of PAX only the path is used; a PAX size that contradicts
//! the header's is refused, since readers disagree on which one counts.

use super::repack::{Repack, exceeded, folder};
use super::{ArchiveError, Limits, Selection, Summary};
use crate::budget::Budget;
use flate2::read::MultiGzDecoder;
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use tar::{Archive, Entry, EntryType, PaxExtensions};

/// Most bytes of a header that extends the next one.
const MAX_EXTENSION_BYTES: u64 = 64 * 1024;
/// Bytes of headers and padding for each entry, beside its content.
const ENTRY_BYTES: u64 = 4 * 1024;

/// Rewrites a tar.
pub(crate) fn repack_tar(
    input: impl Read,
    gzip: bool,
    limits: Limits,
    budget: Budget,
    out: impl Write,
) -> Result<Summary, ArchiveError> {
    let repacked = Repack::new(out, limits, None, budget);
    if gzip {
        repack(MultiGzDecoder::new(input), limits, repacked)
    } else {
        repack(input, limits, repacked)
    }
}

/// Rewrites some pictures of a tar.
pub(crate) fn select_tar(
    input: impl Read,
    selection: Selection,
    limits: Limits,
    budget: Budget,
    out: impl Write,
) -> Result<Summary, ArchiveError> {
    let repacked = Repack::new(out, limits, Some(selection), budget);
    repack(input, limits, repacked)
}

/// What extension headers say of the next entry.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

fn repack<W: Write>(
    input: impl Read,
    limits: Limits,
    mut repack: Repack<W>,
) -> Result<Summary, ArchiveError> {
    // Content that is skipped is decompressed as well, so the whole stream is counted.
    let overflow = Rc::new(Cell::new(false));
    let mut archive = Archive::new(Counted {
        input,
        left: limits.total_bytes + limits.entries.saturating_mul(ENTRY_BYTES),
        overflow: Rc::clone(&overflow),
    });
    let fault = |_: io::Error| {
        if overflow.get() {
            exceeded(&limits)
        } else {
            ArchiveError::cut_short()
        }
    };
    let mut extension = Extension::default();
    for entry in archive.entries().map_err(fault)?.raw(true) {
        let mut entry = entry.map_err(fault)?;
        repack.count()?;
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let mut name = extension_of(&mut entry).map_err(fault)?;
                let end = name.iter().position(|byte| *byte == 0);
                name.truncate(end.unwrap_or(name.len()));
                extension.name = Some(name);
            }
            EntryType::XHeader => {
                pax(&extension_of(&mut entry).map_err(fault)?, &mut extension)?;
            }
            // Defaults of all entries, which set no names; and the target of a link, which is refused itself.
            EntryType::XGlobalHeader | EntryType::GNULongLink => {}
            EntryType::Directory => folder(&name(&entry, std::mem::take(&mut extension))?)?,
            EntryType::Regular | EntryType::Continuous => {
                let name = name(&entry, std::mem::take(&mut extension))?;
                // Old tars mark a folder by the end of its name only.
                if name.ends_with(b"/") {
                    folder(&name)?;
                } else if let Some(kept) = repack.file(&name)? {
                    let size = entry.header().size().map_err(fault)?;
                    if repack.add(&kept, &mut entry, fault)? != size {
                        return Err(ArchiveError::cut_short());
                    }
                }
            }
            kind => {
                let name = name(&entry, std::mem::take(&mut extension))?;
                return Err(ArchiveError::of_entry(&name, refusal(kind)));
            }
        }
    }
    // A stream that broke in a header looks like its end.
    if overflow.get() {
        return Err(exceeded(&limits));
    }
    repack.finish()
}

/// Why an entry of this type is refused.
fn refusal(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink | EntryType::Link => {
            "is a link: archive the files that links lead to (`tar --dereference --hard-dereference`)"
        }
        EntryType::GNUSparse => "is a sparse file: archive it without `--sparse`",
        _ => "is no file: archive pictures only",
    }
}

/// The content of a header that extends the next one.
fn extension_of(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let size = entry.header().size()?;
    let mut bytes = Vec::new();
    entry.take(MAX_EXTENSION_BYTES).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn pax(text: &[u8], extension: &mut Extension) -> Result<(), ArchiveError> {
    for record in PaxExtensions::new(text) {
        let record = record.map_err(|_| ArchiveError::cut_short())?;
        match record.key_bytes() {
            b"path" => extension.name = Some(record.value_bytes().to_vec()),
            b"size" => {
                let size = record.value().ok().and_then(|size| size.parse().ok());
                extension.size = Some(size.ok_or_else(ArchiveError::cut_short)?);
            }
            _ => {}
        }
    }
    Ok(())
}

fn name(entry: &Entry<'_, impl Read>, extension: Extension) -> Result<Vec<u8>, ArchiveError> {
    let name = extension
        .name
        .unwrap_or_else(|| entry.header().path_bytes().into_owned());
    match (extension.size, entry.header().size()) {
        (None, Ok(_)) => Ok(name),
        (Some(said), Ok(size)) if said == size => Ok(name),
        _ => Err(ArchiveError::of_entry(
            &name,
            "has two different sizes: archive it again",
        )),
    }
}

/// A reader that fails after so many bytes.
struct Counted<R> {
    input: R,
    left: u64,
    overflow: Rc<Cell<bool>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        if let Some(left) = self.left.checked_sub(count as u64) {
            self.left = left;
            return Ok(count);
        }
        self.overflow.set(true);
        Err(io::ErrorKind::InvalidData.into())
    }
}
