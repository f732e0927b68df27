//! Good archives, and bad ones: small and harmless, against small bounds.

use super::*;
use crate::archive::{repack_tar, repack_zip};
use crate::budget::Budget;
use ::tar::{Archive, Builder, EntryType, Header};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use rawzip::path::EntryPath;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use std::io::{Cursor, Read as _, Seek as _, Write as _};

const LIMITS: Limits = Limits {
    entries: 5,
    member_bytes: 1000,
    total_bytes: 2000,
};

fn budget() -> Budget {
    Budget::new(2_000_000)
}

fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, content) in members {
        append(&mut tar, name.as_bytes(), EntryType::Regular, content);
    }
    tar.into_inner().unwrap()
}

/// Appends an entry whose name the crate would refuse to write.
fn append(tar: &mut Builder<Vec<u8>>, name: &[u8], kind: EntryType, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut zip = ZipArchiveWriter::new(&mut out);
    for (name, content) in members {
        let file = zip
            .new_file(EntryPath::verbatim(name.as_bytes()))
            .compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = file.start().unwrap();
        let encoder = DeflateEncoder::new(&mut entry, Compression::fast());
        let mut writer = config.wrap(encoder);
        writer.write_all(content).unwrap();
        let (encoder, descriptor) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    zip.finish().unwrap();
    out
}

fn from_tar(bytes: &[u8], gzip: bool) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let mut out = Vec::new();
    repack_tar(bytes, gzip, LIMITS, budget(), &mut out)?;
    Ok(members(&out))
}

fn from_zip(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    let mut out = Vec::new();
    repack_zip(file, LIMITS, budget(), &mut out)?;
    Ok(members(&out))
}

fn members(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = Archive::new(Cursor::new(tar));
    let read = |entry: std::io::Result<::tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, content)
    };
    archive.entries().unwrap().map(read).collect()
}

fn words(error: ArchiveError) -> String {
    match error {
        ArchiveError::Refused(words) | ArchiveError::TooLarge(words) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pictures_and_their_texts_are_kept_and_the_rest_is_left_out() {
    let long = format!("{}/b.png", "a".repeat(200));
    let all: [(&str, &[u8]); 4] = [
        ("./cats/a.jpg", b"picture"),
        ("cats/a.json", b"{}"),
        ("inner.zip", b"nested"),
        ("cats/._a.jpg", b"hidden"),
    ];
    let kept = [("cats/a.jpg", &b"picture"[..]), ("cats/a.json", b"{}")];
    let kept = kept.map(|(name, content)| (name.to_owned(), content.to_vec()));
    assert_eq!(from_tar(&tar_of(&all), false).unwrap(), kept);
    assert_eq!(from_tar(&gzip(&tar_of(&all)), true).unwrap(), kept);
    assert_eq!(from_zip(&zip_of(&all)).unwrap(), kept);
    // A name that needs a header of its own, in both directions.
    let mut tar = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    tar.append_data(&mut header, &long, &b"x"[..]).unwrap();
    let again = from_tar(&tar.into_inner().unwrap(), false).unwrap();
    assert_eq!(again, [(long, b"x".to_vec())]);
}

#[test]
fn names_that_lead_elsewhere_and_doubles_are_refused_by_name() {
    for (name, part) in [
        ("../a.jpg", "../a.jpg"),
        ("/a.jpg", "absolute"),
        ("a\\b.jpg", "backslash"),
        ("x/../a.jpg", "x/../a.jpg"),
        ("../notes", "../notes"),
    ] {
        for error in [
            from_tar(&tar_of(&[(name, b"x")]), false),
            from_zip(&zip_of(&[(name, b"x")])),
        ] {
            let said = words(error.unwrap_err());
            assert!(said.contains(part), "{name}: {said}");
        }
    }
    let twice: [(&str, &[u8]); 2] = [("a.jpg", b"x"), ("./a.jpg", b"y")];
    for error in [from_tar(&tar_of(&twice), false), from_zip(&zip_of(&twice))] {
        let said = words(error.unwrap_err());
        assert!(said.contains("a.jpg") && said.contains("twice"), "{said}");
    }
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Block,
        EntryType::Fifo,
    ] {
        let mut tar = Builder::new(Vec::new());
        append(&mut tar, b"a.jpg", kind, b"");
        let said = words(from_tar(&tar.into_inner().unwrap(), false).unwrap_err());
        assert!(said.contains("a.jpg"), "{kind:?}: {said}");
    }
}

#[test]
fn sizes_are_counted_while_they_are_read() {
    let large = vec![0; 1001];
    let full = vec![0; 900];
    let many: Vec<_> = ["a.jpg", "b.jpg", "c.jpg"]
        .map(|name| (name, &full[..]))
        .into();
    let six: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .map(|name| (name, &b""[..]))
        .into();
    for (members, part) in [
        (vec![("a.jpg", &large[..])], "more than 1000 bytes"),
        (many, "more than 2000 bytes"),
        (six, "more than 5 entries"),
    ] {
        for error in [
            from_tar(&tar_of(&members), false),
            from_tar(&gzip(&tar_of(&members)), true),
            from_zip(&zip_of(&members)),
        ] {
            let error = error.unwrap_err();
            assert!(matches!(error, ArchiveError::TooLarge(_)), "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    // Content that is left out is decompressed as well.
    let skipped = vec![0; 40_000];
    let error = from_tar(&gzip(&tar_of(&[("notes", &skipped)])), true).unwrap_err();
    assert!(matches!(error, ArchiveError::TooLarge(_)), "{error}");
}

#[test]
fn a_cut_archive_is_refused() {
    let noise: Vec<u8> = (0..900_u32).map(|n| (n * n % 251) as u8).collect();
    let tar = tar_of(&[("a.jpg", &noise)]);
    let (packed, zip) = (gzip(&tar), zip_of(&[("a.jpg", &noise)]));
    for error in [
        from_tar(&tar[..700], false),
        from_tar(&tar[..300], false),
        from_tar(&packed[..packed.len() / 2], true),
        from_zip(&zip[..zip.len() / 2]),
        from_zip(&zip[..zip.len() - 5]),
    ] {
        let said = words(error.unwrap_err());
        assert!(said.contains("cut short"), "{said}");
    }
    // A bit that flipped in the content.
    let mut flipped = zip.clone();
    flipped[100] ^= 1;
    assert!(words(from_zip(&flipped).unwrap_err()).contains("damaged"));
    assert!(
        words(from_tar(&tar_of(&[("notes", b"x")]), false).unwrap_err()).contains("no picture")
    );
}

#[test]
fn a_pax_size_that_contradicts_the_header_is_refused() {
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, b"pax", EntryType::XHeader, b"10 size=9\n");
    append(&mut tar, b"a.jpg", EntryType::Regular, b"x");
    let said = words(from_tar(&tar.into_inner().unwrap(), false).unwrap_err());
    assert!(said.contains("two different sizes"), "{said}");
}

#[test]
fn an_archive_whose_entries_do_not_fit_the_memory_is_refused() {
    let tar = tar_of(&[("a.jpg", b"x")]);
    let refused = repack_tar(tar.as_slice(), false, LIMITS, Budget::new(1000), Vec::new());
    assert!(matches!(refused, Err(ArchiveError::NoMemory)));
    let zip = zip_of(&[("a.jpg", b"x")]);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&zip).unwrap();
    let refused = repack_zip(file, LIMITS, Budget::new(1000), Vec::new());
    assert!(matches!(refused, Err(ArchiveError::NoMemory)));
}

#[test]
fn a_header_that_extends_another_is_bounded() {
    let mut tar = Builder::new(Vec::new());
    let name = vec![b'a'; 70_000];
    append(&mut tar, b"././@LongLink", EntryType::GNULongName, &name);
    append(&mut tar, b"a.jpg", EntryType::Regular, b"x");
    let limits = Limits {
        total_bytes: 1_000_000,
        ..LIMITS
    };
    let refused = repack_tar(
        tar.into_inner().unwrap().as_slice(),
        false,
        limits,
        budget(),
        Vec::new(),
    );
    assert!(matches!(refused, Err(ArchiveError::Refused(_))));
}

/// Overwrites a field of an entry's record in the central directory.
fn patch(zip: &mut [u8], entry: usize, at: usize, with: &[u8]) {
    let records = zip.windows(4).enumerate();
    let mut records = records.filter(|(_, four)| *four == b"PK\x01\x02");
    let (begin, _) = records.nth(entry).unwrap();
    zip[begin + at..][..with.len()].copy_from_slice(with);
}

#[test]
fn what_only_a_zip_s_directory_says_counts() {
    let zip = zip_of(&[("a.jpg", b"one"), ("b.jpg", b"one")]);
    assert_eq!(from_zip(&zip).unwrap().len(), 2);
    // Made on Unix, a symbolic link.
    let mut link = zip.clone();
    patch(&mut link, 0, 5, &[3]);
    patch(&mut link, 0, 38, &0xa1ff_0000_u32.to_le_bytes());
    // The flag of encryption.
    let mut encrypted = zip.clone();
    patch(&mut encrypted, 1, 8, &[9]);
    // Both entries lead to the first one's content.
    let mut overlapping = zip.clone();
    patch(&mut overlapping, 1, 42, &[0; 4]);
    // BZip2.
    let mut method = zip;
    patch(&mut method, 1, 10, &[12]);
    for (zip, parts) in [
        (link, ["a.jpg", "link"]),
        (encrypted, ["b.jpg", "encrypted"]),
        (overlapping, ["overlap", "bomb"]),
        (method, ["b.jpg", "BZIP2"]),
    ] {
        let said = words(from_zip(&zip).unwrap_err());
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}
