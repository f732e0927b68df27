//! Items from a list of the user's folder: pictures, or archives.

use super::writer::Writer;
use super::{MAX_ITEMS, PlanError, PlanItem};
use crate::batch::above::{HIDDEN, object_above};
use fovea_protocol::{PICTURE_EXTENSIONS, RowError};
use fovea_store::{DataObject, ObjectKey, Store, StoreError};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Extension of archives, in any case.
const ARCHIVES: [&str; 1] = ["tar"];

/// `include` and `exclude` of an input.
#[derive(Debug)]
pub(super) struct Selection {
    /// `None` takes everything.
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Selection {
    pub(super) fn new(include: &[String], exclude: &[String]) -> Result<Self, PlanError> {
        Ok(Self {
            include: match include {
                [] => None,
                patterns => Some(globs("include", patterns)?),
            },
            exclude: globs("exclude", exclude)?,
        })
    }

    /// Whether the object with this name, relative to the prefix, is taken.
    fn takes(&self, name: &str) -> bool {
        let included = self.include.as_ref();
        included.is_none_or(|include| include.is_match(name)) && !self.exclude.is_match(name)
    }
}

fn globs(field: &str, patterns: &[String]) -> Result<GlobSet, PlanError> {
    let wrong = |pattern: &str, why: &globset::Error| {
        PlanError::never(
            "InvalidInput",
            &format!(
                "spec.input.prefix.{field}: {pattern:?} is no pattern: {}. Write one such as *.jpg or 2026/**",
                why.kind()
            ),
        )
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.map_err(|error| wrong(pattern, &error))?);
    }
    set.build()
        .map_err(|error| wrong(&patterns.join(" "), &error))
}

/// Whether the name's last segment has one of the extensions, after at least one other character.
fn has_extension(name: &str, extensions: &[&str]) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty()
            && extensions
                .iter()
                .any(|each| each.eq_ignore_ascii_case(extension))
    })
}

/// What a listed object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An item.
    Item,
    /// An item that the user does not want.
    Unwanted,
    /// No picture, or no archive.
    Skipped,
    /// The empty object by which consoles show a folder.
    Folder,
}

fn kind(name: &str, extensions: &[&str], takes: impl Fn(&str) -> bool) -> Kind {
    if name.is_empty() || name.ends_with('/') {
        Kind::Folder
    } else if !has_extension(name, extensions) {
        Kind::Skipped
    } else if takes(name) {
        Kind::Item
    } else {
        Kind::Unwanted
    }
}

/// The item of an object. A key that is not safe to sign is a failed one.
fn item(namespace: &str, DataObject { key, bytes }: DataObject) -> PlanItem {
    let error = ObjectKey::data(namespace, &key).err().map(|why| RowError {
        reason: "InvalidKey".to_owned(),
        message: format!("rename the object: {why}"),
    });
    PlanItem {
        key,
        bytes: Some(bytes),
        error,
        ..PlanItem::default()
    }
}

/// Listed objects that are no items.
#[derive(Default)]
struct Left {
    skipped: u64,
    unwanted: u64,
}

/// Pictures below `prefix`; returns the number of objects that are none.
pub(super) async fn pictures(
    store: &Store,
    namespace: &str,
    prefix: &str,
    selection: &Selection,
    writer: &mut Writer<'_, impl Fn(u64)>,
) -> Result<u64, PlanError> {
    let kind = |name: &str| kind(name, &PICTURE_EXTENSIONS, |name| selection.takes(name));
    let left = list(store, namespace, prefix, kind, writer).await?;
    if writer.items() == 0 {
        let Left { skipped, unwanted } = left;
        let hint = in_the_way(store, namespace, prefix).await?;
        let message = format!(
            "there is no picture below data/{namespace}/{prefix}/: {hint}{skipped} objects there are not named like pictures (.{}), and {unwanted} are left out by include and exclude. Check spec.input.prefix, which is relative to data/{namespace}/",
            PICTURE_EXTENSIONS.join(", .")
        );
        return Err(PlanError::never("NoPictures", &message));
    }
    Ok(left.skipped)
}

/// Archives below `prefix`; returns the number of objects that are none.
pub(super) async fn archives(
    store: &Store,
    namespace: &str,
    prefix: &str,
    writer: &mut Writer<'_, impl Fn(u64)>,
) -> Result<u64, PlanError> {
    let kind = |name: &str| kind(name, &ARCHIVES, |_| true);
    let left = list(store, namespace, prefix, kind, writer).await?;
    if writer.items() == 0 {
        let hint = in_the_way(store, namespace, prefix).await?;
        let message = format!(
            "there is no archive below data/{namespace}/{prefix}/: {hint}the names of {} objects there do not end with .tar. Check spec.input.archives.prefix, which is relative to data/{namespace}/; compressed archives are not read",
            left.skipped
        );
        return Err(PlanError::never("NoArchives", &message));
    }
    Ok(left.skipped)
}

/// What to say of an object whose key is the folder's, if there is one.
async fn in_the_way(store: &Store, namespace: &str, prefix: &str) -> Result<String, StoreError> {
    Ok(match object_above(store, namespace, prefix).await? {
        Some(key) => format!("{key} is an object, and {HIDDEN}: rename it; "),
        None => String::new(),
    })
}

async fn list(
    store: &Store,
    namespace: &str,
    prefix: &str,
    kind: impl Fn(&str) -> Kind,
    writer: &mut Writer<'_, impl Fn(u64)>,
) -> Result<Left, PlanError> {
    ObjectKey::data(namespace, prefix)
        .map_err(|why| PlanError::never("InvalidInput", &format!("spec.input: {why}")))?;
    let mut pages = store.list_data(namespace, prefix)?;
    let mut left = Left::default();
    let mut listed = 0;
    while let Some(objects) = pages.next().await? {
        listed += objects.len() as u64;
        if listed > MAX_ITEMS {
            let message = format!(
                "there are more than {MAX_ITEMS} objects below data/{namespace}/{prefix}/: write several batches, each for a folder in it"
            );
            return Err(PlanError::never("TooManyItems", &message));
        }
        for object in objects {
            // The list is below `<prefix>/`.
            let name = object.key.get(prefix.len() + 1..).unwrap_or_default();
            match kind(name) {
                Kind::Item => writer.push(&item(namespace, object)).await?,
                Kind::Unwanted => left.unwanted += 1,
                Kind::Skipped => left.skipped += 1,
                Kind::Folder => {}
            }
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::Failure;

    fn selection(include: &[&str], exclude: &[&str]) -> Result<Selection, PlanError> {
        let owned = |all: &[&str]| {
            all.iter()
                .map(|each| (*each).to_owned())
                .collect::<Vec<_>>()
        };
        Selection::new(&owned(include), &owned(exclude))
    }

    #[test]
    fn a_picture_is_known_by_its_extension_in_any_case() {
        for name in [
            "a.jpg",
            "a/b.c/d.JPEG",
            "ä b.Png",
            "a.tar.webp",
            "x.TIFF",
            "..tif",
        ] {
            assert!(has_extension(name, &PICTURE_EXTENSIONS), "{name}");
        }
        for name in [
            "jpg",
            ".jpg",
            "a.jpg/b",
            "a.jpg.part",
            "a.txt",
            "a.",
            "",
            "a/.png",
        ] {
            assert!(!has_extension(name, &PICTURE_EXTENSIONS), "{name}");
        }
    }

    #[test]
    fn patterns_select_by_the_name_below_the_prefix() {
        let some = selection(
            &["*.jpg", "2026/**", "x/[ab]?.{png,gif}"],
            &["**/tmp/**", "no*"],
        );
        let some = some.unwrap();
        for name in ["a.jpg", "2026/a.jpg", "2026/b/c.png", "x/a1.gif"] {
            assert!(some.takes(name), "{name}");
        }
        for name in [
            "b/a.jpg",
            "a.png",
            "x/c1.gif",
            "2026/tmp/a.jpg",
            "no.jpg",
            "x/a/1.png",
        ] {
            assert!(!some.takes(name), "{name}");
        }
        let all = selection(&[], &[]).unwrap();
        assert!(all.takes("any/thing"));
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        for wrong in ["[a", "{a", "a/{b,{c}"] {
            let Err(PlanError::Never(Failure {
                reason, message, ..
            })) = selection(&[], &[wrong])
            else {
                panic!("{wrong} is a pattern");
            };
            assert_eq!(reason, "InvalidInput");
            assert!(
                message.contains(&format!("exclude: {wrong:?}")),
                "{message}"
            );
        }
    }

    #[test]
    fn an_object_is_an_item_unwanted_skipped_or_a_folder() {
        let kind = |name| kind(name, &PICTURE_EXTENSIONS, |name| name != "b.jpg");
        let names = ["a.jpg", "b.jpg", "b.txt", "", "c.jpg/"];
        let expected = [
            Kind::Item,
            Kind::Unwanted,
            Kind::Skipped,
            Kind::Folder,
            Kind::Folder,
        ];
        assert_eq!(names.map(kind), expected);
    }

    #[test]
    fn a_key_that_is_not_safe_to_sign_is_a_failed_item() {
        let item = |key: &str| {
            let (key, bytes) = (key.to_owned(), 7);
            item("ns", DataObject { key, bytes })
        };
        let good = item("cats/a b+ü.jpg");
        assert_eq!((good.bytes, good.error), (Some(7), None));
        for key in [
            "cats/../a.jpg",
            "cats//a.jpg",
            "a%20b.jpg",
            "a\nb.jpg",
            "a\\b.jpg",
        ] {
            let bad = item(key);
            assert_eq!(bad.key, key);
            let error = bad.error.unwrap();
            assert_eq!(error.reason, "InvalidKey");
            assert!(
                error.message.contains("rename the object"),
                "{}",
                error.message
            );
        }
    }
}
