//! A `TorchScript` archive around a module's code, written in memory: a zip file of stored entries
//! (APPNOTE.TXT 4.3), as `torch.jit.save` writes it for a module without tensors.

/// The folder within the archive; any name will do.
const ROOT: &str = "onednn";

/// The file format that libtorch is to read.
const VERSION: &[u8] = b"3\n";

/// A pickled empty tuple: the code has no constants.
const CONSTANTS: &[u8] = b"\x80\x02).";

/// The pickled module: an object of class `__torch__.OneDnn` with no attributes.
const DATA: &[u8] = b"\x80\x02c__torch__\nOneDnn\n)\x81}b.";

/// The archive of the module whose class `OneDnn` is written in `code`.
pub(super) fn archive(code: &str) -> Vec<u8> {
    let entries = [
        ("version", VERSION),
        ("constants.pkl", CONSTANTS),
        ("data.pkl", DATA),
        ("code/__torch__.py", code.as_bytes()),
    ];
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for (path, contents) in entries {
        let name = format!("{ROOT}/{path}");
        let place = le32(zip.len());
        let header = header(&name, contents);
        zip.extend_from_slice(b"PK\x03\x04");
        zip.extend_from_slice(&header);
        zip.extend_from_slice(name.as_bytes());
        zip.extend_from_slice(contents);
        // The directory repeats the header between two fields of its own: the version that made
        // it before, comment length, disk and attributes (12 bytes of nothing) after it.
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&header);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&place);
        directory.extend_from_slice(name.as_bytes());
    }
    let place = le32(zip.len());
    let count = le16(entries.len());
    zip.extend_from_slice(&directory);
    zip.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00");
    zip.extend_from_slice(&count);
    zip.extend_from_slice(&count);
    zip.extend_from_slice(&le32(directory.len()));
    zip.extend_from_slice(&place);
    zip.extend_from_slice(&[0; 2]);
    zip
}

/// What a local header and a directory entry have in common: version 2.0, no flags, stored, no
/// time, checksum, both sizes, length of the name, no extra field.
fn header(name: &str, contents: &[u8]) -> Vec<u8> {
    let size = le32(contents.len());
    let mut header = vec![0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.extend_from_slice(&crc32fast::hash(contents).to_le_bytes());
    header.extend_from_slice(&size);
    header.extend_from_slice(&size);
    header.extend_from_slice(&le16(name.len()));
    header.extend_from_slice(&[0; 2]);
    header
}

/// Little-endian; the archive has a few kilobytes.
fn le32(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

fn le16(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes()
}
