//! `WebDataset`'s convention: members of an archive that share their name up to the first dot of the base
//! name are one sample, if they follow one another.

use fovea_protocol::{PICTURE_EXTENSIONS, SIDECAR_EXTENSIONS};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bound on the `meta` of a sample, in bytes of its members. A member that goes beyond it is dropped.
pub(super) const MAX_META_BYTES: u64 = 64 * 1024;

/// Bound on the pictures of a sample, which wait for its end; the next one begins another sample.
pub(super) const MAX_PICTURES: u64 = 64;

/// What a member is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Picture,
    /// A `.json`: parsed.
    Json,
    /// A `.txt` or `.cls`: text.
    Text,
    /// Anything else: left out.
    Other,
}

/// A member's name, in the parts that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    /// Everything before the first dot of the base name.
    pub(super) sample: &'a str,
    /// Everything after that dot, in lower case.
    pub(super) extension: String,
    pub(super) role: Role,
}

/// The parts of a member's name; `None` if it is one of no sample.
pub(super) fn parse(name: &str) -> Option<Named<'_>> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    // Not at the base name's beginning: a hidden file.
    let dot = base + name[base..].find('.').filter(|&dot| dot > 0)?;
    let extension = name[dot + 1..].to_lowercase();
    let ending = extension.rsplit('.').next().unwrap_or_default();
    let role = match ending {
        "json" => Role::Json,
        _ if SIDECAR_EXTENSIONS.contains(&ending) => Role::Text,
        _ if PICTURE_EXTENSIONS.contains(&ending) => Role::Picture,
        _ => Role::Other,
    };
    Some(Named {
        sample: &name[..dot],
        extension,
        role,
    })
}

/// What is beside a sample's pictures, by extension.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Meta {
    pub(super) values: BTreeMap<String, Value>,
    bytes: u64,
}

impl Meta {
    /// Whether a member of this length is to be read. If not, it leaves a note in its place.
    pub(super) fn takes(&mut self, extension: &str, bytes: u64) -> bool {
        let all = self.bytes.saturating_add(bytes);
        // Each costs something, so that their number has a bound, too.
        let own = 64 + extension.len() as u64;
        let all = all.saturating_add(own);
        if all > MAX_META_BYTES {
            if self.bytes < MAX_META_BYTES {
                self.bytes += own;
                let note = json!({"dropped": format!("more than {MAX_META_BYTES} bytes")});
                self.values.insert(extension.to_owned(), note);
            }
            return false;
        }
        self.bytes = all;
        true
    }

    /// Adds a member: JSON parsed, and anything else, or what is none, as text.
    pub(super) fn add(&mut self, extension: String, role: Role, content: &[u8]) {
        let parsed = (role == Role::Json).then(|| serde_json::from_slice(content).ok());
        let text = || Value::String(String::from_utf8_lossy(content).into_owned());
        let value = parsed.flatten().unwrap_or_else(text);
        self.values.insert(extension, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_at_the_first_dot_of_its_base() {
        let parsed =
            |name| parse(name).map(|named| (named.sample.to_owned(), named.extension, named.role));
        let some = |sample: &str, extension: &str, role| {
            Some((sample.to_owned(), extension.to_owned(), role))
        };
        assert_eq!(
            parsed("a.d/0001.JPG"),
            some("a.d/0001", "jpg", Role::Picture)
        );
        assert_eq!(
            parsed("0001.seg.png"),
            some("0001", "seg.png", Role::Picture)
        );
        assert_eq!(
            parsed("0001.meta.json"),
            some("0001", "meta.json", Role::Json)
        );
        assert_eq!(parsed("x/0001.cls"), some("x/0001", "cls", Role::Text));
        assert_eq!(parsed("0001.npy"), some("0001", "npy", Role::Other));
        for name in ["", "a", "dir.jpg/", ".hidden.jpg", "d/._a.jpg", "a.jpg/b"] {
            assert_eq!(parsed(name), None, "{name}");
        }
    }

    #[test]
    fn meta_is_parsed_or_text_and_has_a_bound() {
        let mut meta = Meta::default();
        assert!(meta.takes("json", 9));
        meta.add("json".to_owned(), Role::Json, br#"{"n": 1}"#);
        meta.add("bad.json".to_owned(), Role::Json, b"{");
        meta.add("cls".to_owned(), Role::Text, b"7");
        assert!(!meta.takes("txt", MAX_META_BYTES));
        let values = serde_json::to_value(&meta.values).unwrap();
        let note = json!({"dropped": "more than 65536 bytes"});
        assert_eq!(
            values,
            json!({"json": {"n": 1}, "bad.json": "{", "cls": "7", "txt": note})
        );
        let mut many = Meta::default();
        let taken = (0..10_000)
            .filter(|n| many.takes(&n.to_string(), 1))
            .count();
        assert!(taken < 1100 && many.values.len() < 10, "{taken}");
    }
}
