//! Zip archives with wrong statements, and damaged ones.

use crate::archive::{Entry, archive, checkpoint, end, entry, folder, goldens};
use crate::pickle::state_dict;
use fovea_runner::weights::{Placement, Weights};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

fn sound() -> Vec<Entry> {
    let pickle = state_dict(("FloatStorage", "0", 4), 0, &[2, 2], &[2, 1]);
    checkpoint(&pickle, &[("0", &[0; 16])])
}

fn open(file: &[u8]) -> Result<(), String> {
    let dir = folder(file);
    let weights = Weights::open(dir.path(), Placement::CPU).map_err(|error| error.to_string())?;
    let tensor = weights.at("").tensor("weight", &[2, 2]);
    tensor.map(drop).map_err(|error| error.to_string())
}

/// The error about the sound archive after this change.
fn changed(change: impl FnOnce(&mut Vec<Entry>)) -> String {
    let mut entries = sound();
    change(&mut entries);
    open(&archive(&entries)).unwrap_err()
}

#[track_caller]
fn says(error: &str, words: &str) {
    assert!(
        error.contains("is refused") && error.contains(words),
        "{words:?} is not in: {error}"
    );
}

#[test]
fn the_sound_archive_is_read() {
    open(&archive(&sound())).unwrap();
    let mut long = sound();
    long[1].long = Some(16);
    open(&archive(&long)).unwrap();
}

#[test]
fn compressed_and_encrypted_entries_are_refused_and_never_unpacked() {
    says(
        &changed(|entries| entries[1].method = 8),
        "\"model/data/0\" is compressed",
    );
    says(&changed(|entries| entries[0].method = 14), "is compressed");
    says(&changed(|entries| entries[1].flags = 1), "is encrypted");
}

#[test]
fn wrong_sizes_and_offsets_are_refused() {
    says(
        &changed(|entries| entries[1].claimed = Some(1 << 31)),
        "lies outside of it",
    );
    says(
        &changed(|entries| entries[0].claimed = Some(1 << 30)),
        "lies outside of it",
    );
    says(
        &changed(|entries| entries[1].long = Some(u64::MAX)),
        "lies outside of it",
    );
    says(
        &changed(|entries| entries[1].claimed = Some(15)),
        "where the archive has 15 bytes",
    );
    says(
        &changed(|entries| entries[1].header = Some(1)),
        "has another header",
    );
    says(
        &changed(|entries| entries[1].header = Some(u32::MAX - 1)),
        "lies outside of it",
    );
    says(
        &changed(|entries| {
            entries[1].header = Some(0);
            // A local header is checked by its offset and the length of its name.
            entries[1].name = "model/data/00".to_owned();
            entries[0].name = "model/data.pk".to_owned();
        }),
        "overlap",
    );
}

#[test]
fn names_that_are_no_plain_paths_or_occur_twice_are_refused() {
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "model/../x",
        "model//x",
        "model\\x",
        "model/x\0",
    ] {
        says(
            &changed(|entries| entries.push(entry(name, b""))),
            "is no plain path",
        );
    }
    says(
        &changed(|entries| entries.push(entries[1].clone())),
        "two entries \"model/data/0\"",
    );
    says(
        &changed(|entries| entries.push(entry("other/data.pkl", b""))),
        "several data.pkl",
    );
    says(&changed(|entries| drop(entries.remove(0))), "no data.pkl");
    says(
        &changed(|entries| entries.push(entry("model/byteorder", b"big"))),
        "little-endian",
    );
    says(
        &changed(|entries| entries.push(entry("model/byteorder", &[0; 17]))),
        "byteorder has 17",
    );
}

#[test]
fn a_wrong_end_record_is_refused() {
    let sound = archive(&sound());
    let (head, _) = sound.split_at(sound.len() - 22);
    let directory = head
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    let start = u32::try_from(directory).unwrap();
    let length = head.len() - directory;
    let with = |end: Vec<u8>| open(&[head, &end].concat()).unwrap_err();
    says(&with(end(3, length, start)), "claims 3 entries and has 2");
    says(&with(end(2, length + 1, start)), "lies outside of it");
    says(&with(end(2, length - 1, start)), "directory is broken");
    says(&with(end(2, length, start - 1)), "directory is broken");
    says(&with(end(2, length, u32::MAX)), "lies outside of it");
    says(&with(end(2, 40 << 20, 0)), "directory claims");
    let mut parts = end(2, length, start);
    parts[4] = 1;
    says(&with(parts), "several parts");
    says(&with(vec![]), "cut off");

    let long = |place: u64, record: &[u8]| {
        let mut file = [head, record].concat();
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(place.to_le_bytes());
        file.extend([1, 0, 0, 0]);
        file.extend(end(2, length, start));
        open(&file).unwrap_err()
    };
    says(&long(u64::MAX, &[]), "zip64 end record lies outside");
    says(
        &long(head.len() as u64, &[0; 56]),
        "zip64 end record is none",
    );
    let mut lying = b"PK\x06\x06".to_vec();
    lying.extend([0xff; 52]);
    says(&long(head.len() as u64, &lying), "several parts");
    lying[16..24].fill(0);
    says(
        &long(head.len() as u64, &lying),
        "directory claims 18446744073709551615 entries",
    );
}

/// A real file that can be changed in place: its folder, path and bytes.
fn real() -> (tempfile::TempDir, File, Vec<u8>) {
    let whole = std::fs::read(goldens().join("state_dict.bin")).unwrap();
    let dir = folder(&whole);
    let mut options = File::options();
    let path = dir.path().join("pytorch_model.bin");
    (dir, options.write(true).open(path).unwrap(), whole)
}

#[test]
fn a_real_file_that_was_cut_anywhere_is_refused() {
    let (dir, file, whole) = real();
    for length in (0..whole.len() as u64).rev() {
        file.set_len(length).unwrap();
        assert!(
            Weights::open(dir.path(), Placement::CPU).is_err(),
            "{length} bytes"
        );
    }
    let no_zip = open(b"weights").unwrap_err();
    says(&no_zip, "no zip archive");
}

#[test]
fn a_real_file_with_any_bit_flipped_is_read_or_refused_and_nothing_else() {
    let (dir, file, whole) = real();
    let (mut read, mut refused) = (0, 0);
    for (place, byte) in (0u64..).zip(whole) {
        file.write_all_at(&[byte ^ (1 << (place % 8))], place)
            .unwrap();
        match Weights::open(dir.path(), Placement::CPU) {
            Ok(weights) => {
                // Loading may succeed or fail.
                let _ = weights.at("linear").tensor("weight", &[4, 3]);
                read += 1;
            }
            Err(_) => refused += 1,
        }
        file.write_all_at(&[byte], place).unwrap();
    }
    println!("{read} read anyway, {refused} refused");
    assert!(read > 1000 && refused > 1000, "{read} and {refused}");
}
