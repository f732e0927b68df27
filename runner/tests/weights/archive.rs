//! Builds valid and invalid `torch.save` archives.

use std::path::Path;

/// One entry, and the archive's statements about it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    /// Stated instead of its true length.
    pub(crate) claimed: Option<u32>,
    /// Stated instead of its header's offset.
    pub(crate) header: Option<u32>,
    /// Sizes to put into zip64's extra field.
    pub(crate) long: Option<u64>,
}

/// An entry whose headers are all correct.
pub(crate) fn entry(name: &str, data: &[u8]) -> Entry {
    Entry {
        name: name.to_owned(),
        data: data.to_vec(),
        method: 0,
        flags: 0,
        claimed: None,
        header: None,
        long: None,
    }
}

pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let place = u32::try_from(file.len()).unwrap();
        let length = u32::try_from(entry.data.len()).unwrap();
        let sizes = match entry.long {
            Some(_) => u32::MAX,
            None => entry.claimed.unwrap_or(length),
        };
        let name_length = u16::try_from(entry.name.len()).unwrap();
        let mut common = Vec::new();
        common.extend(entry.flags.to_le_bytes());
        common.extend(entry.method.to_le_bytes());
        common.extend([0; 8]); // time, date, CRC-32, which PyTorch may leave out
        common.extend([sizes.to_le_bytes(), sizes.to_le_bytes()].concat());
        common.extend(name_length.to_le_bytes());

        file.extend(b"PK\x03\x04\x2d\0");
        file.extend(&common);
        file.extend([0; 2]);
        file.extend(entry.name.as_bytes());
        file.extend(&entry.data);

        let extra = entry.long.map_or(vec![], |long| {
            [&[1, 0, 16, 0], &long.to_le_bytes()[..], &long.to_le_bytes()].concat()
        });
        directory.extend(b"PK\x01\x02\x2d\0\x2d\0");
        directory.extend(&common);
        directory.extend(u16::try_from(extra.len()).unwrap().to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(entry.header.unwrap_or(place).to_le_bytes());
        directory.extend(entry.name.as_bytes());
        directory.extend(extra);
    }
    let start = u32::try_from(file.len()).unwrap();
    file.extend(&directory);
    file.extend(end(entries.len(), directory.len(), start));
    file
}

pub(crate) fn end(entries: usize, bytes: usize, start: u32) -> Vec<u8> {
    let entries = u16::try_from(entries).unwrap().to_le_bytes();
    let bytes = u32::try_from(bytes).unwrap().to_le_bytes();
    let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
    end.extend([entries, entries].concat());
    end.extend([bytes, start.to_le_bytes()].concat());
    end.extend([0; 2]);
    end
}

/// A checkpoint of this pickle and these storages.
pub(crate) fn checkpoint(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<Entry> {
    let mut entries = vec![entry("model/data.pkl", pickle)];
    for (key, data) in storages {
        entries.push(entry(&format!("model/data/{key}"), data));
    }
    entries
}

/// `pytorch_model.bin` in a folder of its own.
pub(crate) fn folder(file: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pytorch_model.bin"), file).unwrap();
    dir
}

/// The golden file of this name as `pytorch_model.bin` in a folder of its own.
pub(crate) fn golden(name: &str) -> tempfile::TempDir {
    folder(&std::fs::read(goldens().join(name)).unwrap())
}

pub(crate) fn goldens() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pytorch")
}
