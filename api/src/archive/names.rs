//! Names of an archive's entries. Pure.

/// Most bytes of a name: it becomes part of a row's key.
const MAX_NAME_BYTES: usize = 512;
/// Extensions of pictures, those of the protocol, which the API does not link, and of the texts that go with
/// them.
pub(super) const PICTURES: [&str; 10] = [
    "jpg", "jpeg", "jpe", "png", "gif", "bmp", "tif", "tiff", "ico", "webp",
];
const TEXTS: [&str; 3] = ["json", "txt", "cls"];

/// What an entry is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Picture,
    /// One of [`TEXTS`]: metadata of the picture with the same stem.
    Text,
    /// Anything else, and hidden files, which some systems add by themselves.
    Other,
}

/// Checks a name, and normalises `./a` to `a`. The error completes the sentence "the entry ...".
pub(super) fn check(name: &[u8]) -> Result<&str, &'static str> {
    let Ok(name) = std::str::from_utf8(name) else {
        return Err("has a name that is not UTF-8: rename it");
    };
    let name = name.trim_start_matches("./");
    if name.len() > MAX_NAME_BYTES {
        return Err("has a name of more than 512 bytes: rename it");
    }
    if name.contains(|c: char| c == '\\' || c.is_control()) {
        return Err("has a backslash or a control character in its name: rename it");
    }
    if name.starts_with('/') || name.as_bytes().get(1) == Some(&b':') {
        return Err("has an absolute path: archive the files by relative paths");
    }
    let path = name.strip_suffix('/').unwrap_or(name);
    if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(
            "has a path with an empty, `.` or `..` part: archive the files from their own folder",
        );
    }
    Ok(name)
}

/// What a name has in common with those of the same sample: all before the first dot of its last part.
pub(super) fn stem(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name[file..].find('.').map_or(name.len(), |dot| file + dot);
    &name[..dot]
}

/// What an entry with a checked name is.
pub(super) fn role(name: &str) -> Role {
    let file = name.rsplit('/').next().unwrap_or_default();
    let Some((stem, extension)) = file.rsplit_once('.') else {
        return Role::Other;
    };
    let extension = extension.to_ascii_lowercase();
    match extension.as_str() {
        _ if stem.is_empty() || file.starts_with('.') => Role::Other,
        picture if PICTURES.contains(&picture) => Role::Picture,
        text if TEXTS.contains(&text) => Role::Text,
        _ => Role::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_what_planner_and_runner_take_it_for() {
        assert_eq!(PICTURES, fovea_protocol::PICTURE_EXTENSIONS);
        assert_eq!(TEXTS, fovea_protocol::SIDECAR_EXTENSIONS);
    }

    #[test]
    fn a_name_leads_nowhere_but_below_the_archive() {
        for (name, checked) in [
            (&b"a.jpg"[..], "a.jpg"),
            (b"./cats/a.jpg", "cats/a.jpg"),
            (b"cats/", "cats/"),
            (b"./", ""),
            (b"..a/b..jpg", "..a/b..jpg"),
        ] {
            assert_eq!(check(name), Ok(checked));
        }
        for wrong in [
            &b"../a.jpg"[..],
            b"a/../b.jpg",
            b"a/..",
            b"/etc/a.jpg",
            b"./../a.jpg",
            b".//a.jpg",
            b"a//b.jpg",
            b"a/./b.jpg",
            b"C:/a.jpg",
            b"a\\b.jpg",
            b"a\0.jpg",
            b"a\n.jpg",
            b"\xff.jpg",
            &[b'a'; 513],
        ] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_stem_ends_at_the_first_dot_of_the_file() {
        for (name, expected) in [
            ("a.jpg", "a"),
            ("a.b/c.seg.png", "a.b/c"),
            ("a.b/c", "a.b/c"),
            ("", ""),
        ] {
            assert_eq!(stem(name), expected);
        }
    }

    #[test]
    fn a_picture_is_one_by_its_extension() {
        for picture in ["a.jpg", "cats/a.JPEG", "a.b.webp"] {
            assert_eq!(role(picture), Role::Picture, "{picture}");
        }
        for text in ["a.json", "a.TXT", "a.cls"] {
            assert_eq!(role(text), Role::Text, "{text}");
        }
        for other in [
            "a", "a.zip", "a.tar", "cats/", "._a.jpg", ".jpg", "jpg", "a.jpg/",
        ] {
            assert_eq!(role(other), Role::Other, "{other}");
        }
    }
}
