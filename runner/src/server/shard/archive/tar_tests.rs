//! Archives as their writers make them, whole, cut and damaged.

use super::tar::{Broken, Bytes, Member, Members};
use std::convert::Infallible;
use tar::{Builder, EntryType, Header};

/// An archive in memory, in chunks of this size.
struct Memory(bytes::Bytes, usize);

impl Bytes for Memory {
    type Error = Infallible;

    async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, Infallible> {
        let length = self.1.min(self.0.len());
        Ok((length > 0).then(|| self.0.split_to(length)))
    }

    fn skip(&mut self, bytes: u64) -> bool {
        let skips = bytes > 4096;
        if skips {
            let length = usize::try_from(bytes).unwrap().min(self.0.len());
            drop(self.0.split_to(length));
        }
        skips
    }
}

/// Names with contents.
type Files = Vec<(String, Vec<u8>)>;

/// The files, and what the archive ends with.
fn read(archive: &[u8], chunk: usize) -> (Files, Option<Broken<Infallible>>) {
    let source = Memory(bytes::Bytes::copy_from_slice(archive), chunk);
    let mut members = Members::new(source);
    let mut files = Vec::new();
    let reading = async {
        while let Some(member) = members.next().await? {
            match member {
                Member {
                    name,
                    is_file: true,
                    bytes,
                } if bytes < 10_000 => files.push((name, members.content().await?.to_vec())),
                Member { name, .. } => files.push((format!("-{name}"), Vec::new())),
            }
        }
        Ok(())
    };
    let ended = futures::executor::block_on(reading);
    (files, ended.err())
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header
}

fn archive() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = header(EntryType::Regular, content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("a/1.jpg", &[7; 700]);
    add("empty.png", b"");
    add(&format!("{}/2.jpg", "long/".repeat(40)), &[8; 512]);
    add(&format!("{}.jpg", "x".repeat(100_000)), b"a long name");
    add("huge.png", &vec![9; 20_000]);
    let mut folder = header(EntryType::Directory, 0);
    builder.append_data(&mut folder, "dir/", &[][..]).unwrap();
    let mut link = header(EntryType::Symlink, 0);
    builder
        .append_link(&mut link, "link.jpg", "/etc/passwd")
        .unwrap();
    builder
        .append_pax_extensions([("path", "pax/ü.jpg".as_bytes()), ("mtime", b"1.5")])
        .unwrap();
    let mut short = header(EntryType::Regular, 3);
    builder
        .append_data(&mut short, "short.jpg", &b"pax"[..])
        .unwrap();
    builder
        .append_pax_extensions([("GNU.sparse.major", "1".as_bytes())])
        .unwrap();
    let mut sparse = header(EntryType::Regular, 4);
    builder
        .append_data(&mut sparse, "sparse.jpg", &b"hole"[..])
        .unwrap();
    let mut last = header(EntryType::Regular, 1);
    builder
        .append_data(&mut last, "../last.txt", &b"z"[..])
        .unwrap_or_else(|_| {
            let mut last = header(EntryType::Regular, 1);
            builder
                .append_data(&mut last, "last.txt", &b"z"[..])
                .unwrap();
        });
    builder.into_inner().unwrap()
}

#[test]
fn members_are_read_whatever_their_headers_and_the_chunks() {
    let archive = archive();
    for chunk in [1, 511, 512, 513, 100_000] {
        let (files, ended) = read(&archive, chunk);
        assert_eq!(ended, None);
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        let long = format!("{}/2.jpg", "long/".repeat(40));
        let longer = format!("{}.jpg", "x".repeat(100_000));
        let expected = [
            "a/1.jpg",
            "empty.png",
            &long,
            &longer,
            "-huge.png",
            "-dir/",
            "-link.jpg",
            "pax/ü.jpg",
            "-sparse.jpg",
            "last.txt",
        ];
        assert_eq!(names, expected, "{chunk}");
        assert_eq!(
            (&files[0].1[..], &files[2].1[..]),
            (&[7; 700][..], &[8; 512][..])
        );
        assert_eq!((&files[7].1[..], &files[9].1[..]), (&b"pax"[..], &b"z"[..]));
    }
}

#[test]
fn an_archive_that_is_cut_anywhere_has_its_members_up_to_there() {
    let archive = archive();
    let end = archive.len() - 1024;
    let (whole, _) = read(&archive, 512);
    for cut in (0..=end).step_by(100).chain([end]) {
        let (files, ended) = read(&archive[..cut], 512);
        assert_eq!(ended, Some(Broken::Cut), "{cut}");
        assert!(whole.starts_with(&files), "{cut}");
    }
}

#[test]
fn what_is_no_archive_or_is_damaged_says_so() {
    let (files, ended) = read(&[0x1f; 2000], 512);
    assert!(files.is_empty() && matches!(ended, Some(Broken::Invalid(_))));
    let mut damaged = archive();
    damaged[512 + 1024] ^= 1;
    let (files, ended) = read(&damaged, 512);
    assert_eq!(files.len(), 1);
    assert!(matches!(ended, Some(Broken::Invalid(_))));

    // Headers that claim more than there can be.
    for (kind, size) in [
        (EntryType::XHeader, 1 << 40),
        (EntryType::GNULongName, 1 << 40),
        (EntryType::Regular, u64::MAX),
    ] {
        let mut header = header(kind, size);
        header.set_cksum();
        let (files, ended) = read(header.as_bytes(), 512);
        assert!(files.len() <= 1 && ended.is_some(), "{kind:?}");
    }
}

#[test]
fn a_size_of_a_pax_header_counts_and_so_does_a_sparse_map() {
    let mut builder = Builder::new(Vec::new());
    builder
        .append_pax_extensions([("size", "5".as_bytes())])
        .unwrap();
    let mut archive = builder.into_inner().unwrap();
    archive.truncate(archive.len() - 1024);
    let mut lying = header(EntryType::Regular, 0);
    lying.set_path("a.jpg").unwrap();
    lying.set_cksum();
    archive.extend_from_slice(lying.as_bytes());
    archive.extend_from_slice(b"12345");
    archive.resize(archive.len().next_multiple_of(512), 0);
    let mut sparse = header(EntryType::GNUSparse, 3);
    sparse.as_gnu_mut().unwrap().set_is_extended(true);
    sparse.set_path("b.jpg").unwrap();
    sparse.set_cksum();
    archive.extend_from_slice(sparse.as_bytes());
    for goes_on in [1, 0] {
        archive.extend_from_slice(&[0; 512]);
        let flag = archive.len() - 8;
        archive[flag] = goes_on;
    }
    archive.extend_from_slice(b"xyz");
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    let (files, ended) = read(&archive, 512);
    assert_eq!(ended, None);
    assert_eq!(files[0], ("a.jpg".to_owned(), b"12345".to_vec()));
    assert_eq!(files[1].0, "-b.jpg");
}
