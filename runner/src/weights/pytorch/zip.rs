//! The subset of the zip format that `torch.save` writes: uncompressed entries, with zip64 sizes.
//!
//! Format: PKWARE's APPNOTE.TXT 6.3. Sizes and offsets come from the central directory; only the
//! length of a local header is read from it.

use super::{Fault, refuse};
use crate::weights::file::DataFile;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

/// Upper bound on entries; a checkpoint has one for each tensor, and five.
const MAX_ENTRIES: u64 = 100_000;

const MAX_DIRECTORY_BYTES: u64 = 32 * 1024 * 1024;

const END: [u8; 4] = *b"PK\x05\x06";
const END_BYTES: usize = 22;
const MAX_COMMENT_BYTES: usize = 65_535;
const END64_LOCATOR: [u8; 4] = *b"PK\x06\x07";
const END64_LOCATOR_BYTES: u64 = 20;
const END64: [u8; 4] = *b"PK\x06\x06";
const END64_BYTES: usize = 56;
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const CENTRAL_BYTES: usize = 46;
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;

/// Marks a 32-bit number whose value is in zip64's extra field.
const IN_EXTRA: u32 = u32::MAX;
const ZIP64_EXTRA: u16 = 1;
const ENCRYPTED: u16 = 1;

/// The position of an entry's bytes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// The archive's entries, by their full names.
#[derive(Debug)]
pub(super) struct Archive(BTreeMap<String, Entry>);

impl Archive {
    pub(super) fn read(file: &DataFile) -> Result<Self, Fault> {
        let directory = Directory::find(file)?;
        // At most MAX_DIRECTORY_BYTES.
        let length = usize::try_from(directory.bytes).unwrap_or_default();
        let bytes = file.bytes_at(directory.start, length)?;
        let mut entries = BTreeMap::new();
        let mut places = Vec::new();
        for central in listed(&bytes, directory.entries)? {
            let entry = central.locate(file, directory.start)?;
            places.push((central.header, entry.start + entry.bytes));
            match entries.entry(central.name) {
                Slot::Vacant(slot) => drop(slot.insert(entry)),
                Slot::Occupied(slot) => {
                    return refuse(format!("it has two entries {:?}", slot.key()));
                }
            }
        }
        places.sort_unstable();
        if places.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return refuse("its entries overlap");
        }
        Ok(Self(entries))
    }

    pub(super) fn get(&self, name: &str) -> Option<Entry> {
        self.0.get(name).copied()
    }

    /// The archive's root folder, and the pickle in it.
    pub(super) fn pickle(&self) -> Result<(&str, Entry), Fault> {
        let mut pickles = self.0.iter().filter_map(|(name, entry)| {
            let root = name.strip_suffix("/data.pkl")?;
            (!root.contains('/')).then_some((root, *entry))
        });
        match (pickles.next(), pickles.next()) {
            (Some(pickle), None) => Ok(pickle),
            (None, _) => refuse("it has no data.pkl, which torch.save would have written"),
            (Some(_), Some(_)) => refuse("it has several data.pkl"),
        }
    }
}

struct Directory {
    start: u64,
    bytes: u64,
    entries: u64,
}

impl Directory {
    /// Finds the central directory through the end record, the last part of the file.
    fn find(file: &DataFile) -> Result<Self, Fault> {
        let tail_bytes = file.bytes().min((END_BYTES + MAX_COMMENT_BYTES) as u64);
        let tail_start = file.bytes() - tail_bytes;
        let tail = file.bytes_at(tail_start, usize::try_from(tail_bytes).unwrap_or_default())?;
        let Some(at) = (0..=tail.len().saturating_sub(END_BYTES))
            .rev()
            .find(|&at| {
                let record = &tail[at..];
                record.starts_with(&END)
                    && record.len() >= END_BYTES
                    && usize::from(u16_at(record, 20)) == record.len() - END_BYTES
            })
        else {
            return refuse("it has no end record: it was cut off; fetch or save it again");
        };
        let (record, end) = (&tail[at..], tail_start + at as u64);
        let short = Self {
            start: u32_at(record, 16).into(),
            bytes: u32_at(record, 12).into(),
            entries: u16_at(record, 10).into(),
        };
        let parts = u16_at(record, 4) != 0 || u16_at(record, 6) != 0;
        let (directory, parts, end) = Self::find_long(file, end)?.unwrap_or((short, parts, end));
        let Self {
            start,
            bytes,
            entries,
        } = directory;
        if parts {
            return refuse("it is one of several parts of an archive");
        }
        if bytes > MAX_DIRECTORY_BYTES || entries > MAX_ENTRIES {
            return refuse(format!(
                "its directory claims {entries} entries in {bytes} bytes"
            ));
        }
        if start.checked_add(bytes).is_none_or(|after| after > end) {
            return refuse("its directory lies outside of it");
        }
        Ok(directory)
    }

    /// Reads zip64's end record, if one precedes the end record at `end`: the directory, whether the
    /// archive has several parts, and the record's offset.
    fn find_long(file: &DataFile, end: u64) -> Result<Option<(Self, bool, u64)>, Fault> {
        let Some(at) = end.checked_sub(END64_LOCATOR_BYTES) else {
            return Ok(None);
        };
        let mut locator = [0; 20];
        file.read_at(&mut locator, at)?;
        if !locator.starts_with(&END64_LOCATOR) {
            return Ok(None);
        }
        let place = u64_at(&locator, 8);
        let mut record = [0; END64_BYTES];
        if place
            .checked_add(END64_BYTES as u64)
            .is_none_or(|end| end > at)
        {
            return refuse("its zip64 end record lies outside of it");
        }
        file.read_at(&mut record, place)?;
        if !record.starts_with(&END64) {
            return refuse("its zip64 end record is none");
        }
        let directory = Self {
            start: u64_at(&record, 48),
            bytes: u64_at(&record, 40),
            entries: u64_at(&record, 32),
        };
        let parts = u32_at(&record, 16) != 0 || u32_at(&record, 20) != 0;
        Ok(Some((directory, parts, place)))
    }
}

/// An entry of the central directory.
struct Central {
    name: String,
    bytes: u64,
    /// Offset of the local header.
    header: u64,
}

fn listed(mut rest: &[u8], entries: u64) -> Result<Vec<Central>, Fault> {
    let mut listed = Vec::new();
    while !rest.is_empty() {
        let (central, after) = central(rest)?;
        listed.push(central);
        rest = after;
    }
    if listed.len() as u64 != entries {
        return refuse(format!(
            "its directory claims {entries} entries and has {}",
            listed.len()
        ));
    }
    Ok(listed)
}

/// Parses the first entry of `rest`; also returns the bytes after it.
fn central(rest: &[u8]) -> Result<(Central, &[u8]), Fault> {
    let broken = || Fault::Refused("its directory is broken; fetch or save it again".to_owned());
    let (fixed, after) = rest.split_at_checked(CENTRAL_BYTES).ok_or_else(broken)?;
    if !fixed.starts_with(&CENTRAL) {
        return Err(broken());
    }
    let lengths = [28, 30, 32].map(|at| usize::from(u16_at(fixed, at)));
    let (name, after) = after.split_at_checked(lengths[0]).ok_or_else(broken)?;
    let (extra, after) = after.split_at_checked(lengths[1]).ok_or_else(broken)?;
    let (_, after) = after.split_at_checked(lengths[2]).ok_or_else(broken)?;
    let name = checked_name(name)?;
    if u16_at(fixed, 8) & ENCRYPTED != 0 {
        return refuse(format!("its entry {name:?} is encrypted"));
    }
    let (compressed, bytes, header) = sizes(fixed, extra).ok_or_else(broken)?;
    if u16_at(fixed, 10) != 0 || compressed != bytes {
        return refuse(format!(
            "its entry {name:?} is compressed, which torch.save does not do"
        ));
    }
    Ok((
        Central {
            name,
            bytes,
            header,
        },
        after,
    ))
}

/// Refuses a name that could point elsewhere, although nothing is unpacked.
fn checked_name(name: &[u8]) -> Result<String, Fault> {
    let text = String::from_utf8_lossy(name).into_owned();
    let walks = text.split('/').any(|part| matches!(part, "" | "." | ".."));
    if walks || text.contains(['\\', '\0', '\u{fffd}']) {
        let excerpt: String = text.chars().take(80).collect();
        return refuse(format!("its entry {excerpt:?} is no plain path"));
    }
    Ok(text)
}

/// Compressed size, size and the local header's offset; zip64 keeps large ones in the extra field.
fn sizes(fixed: &[u8], extra: &[u8]) -> Option<(u64, u64, u64)> {
    let short = [20, 24, 42].map(|at| u32_at(fixed, at));
    let mut long = zip64_extra(extra)?;
    let mut next = |short: u32| {
        if short != IN_EXTRA {
            return Some(u64::from(short));
        }
        let (number, rest) = long.split_at_checked(8)?;
        long = rest;
        Some(u64_at(number, 0))
    };
    // The extra field has the size before the compressed size.
    let bytes = next(short[1])?;
    let compressed = next(short[0])?;
    Some((compressed, bytes, next(short[2])?))
}

/// The zip64 extra field, empty if absent; `None` if the fields are broken.
fn zip64_extra(mut extra: &[u8]) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let (head, rest) = extra.split_at(4);
        let (field, rest) = rest.split_at_checked(u16_at(head, 2).into())?;
        if u16_at(head, 0) == ZIP64_EXTRA {
            return Some(field);
        }
        extra = rest;
    }
    Some(&[])
}

impl Central {
    /// Locates the entry's bytes: after its local header, before the directory.
    fn locate(&self, file: &DataFile, directory: u64) -> Result<Entry, Fault> {
        let Self {
            name,
            bytes,
            header,
        } = self;
        let end = |start: u64, length: u64| {
            let end = start.checked_add(length);
            end.filter(|&end| end <= directory)
                .ok_or_else(|| Fault::Refused(format!("its entry {name:?} lies outside of it")))
        };
        let after_fixed = end(*header, LOCAL_BYTES as u64)?;
        let mut local = [0; LOCAL_BYTES];
        file.read_at(&mut local, *header)?;
        let name_bytes = u16_at(&local, 26);
        if !local.starts_with(&LOCAL) || usize::from(name_bytes) != name.len() {
            return refuse(format!("its entry {name:?} has another header"));
        }
        let start = after_fixed + u64::from(name_bytes) + u64::from(u16_at(&local, 28));
        end(start, *bytes)?;
        Ok(Entry {
            start,
            bytes: *bytes,
        })
    }
}

// Little-endian numbers; the caller checks the length.

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
