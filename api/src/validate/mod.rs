//! Validates requests. Pure: no clock, no client. The cluster's schema decides; the checks here name
//! the request's fields, and run before a picture is stored.

mod batch;
mod callback;
mod error;
mod fields;
mod picture;
mod request;

pub(crate) use batch::{BatchFields, BatchRequest, UPLOADED_PICTURES, uploaded};
pub(crate) use error::{FieldError, excerpt};
pub(crate) use fields::{object_key, task};
pub(crate) use picture::{Picture, format, inspect};
pub(crate) use request::{BatchSettings, JobRequest, ValidRequest};

use fovea_crds::bounds::{MAX_LABEL_LENGTH, MAX_NAME_LENGTH};

/// Whether `name` is a DNS label, as the names of namespaces and models must be.
pub(crate) fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.len() <= MAX_LABEL_LENGTH as usize
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether `name` is a DNS subdomain, as most names in Kubernetes must be. Such a name can be put into
/// a URL's path without escaping.
pub(crate) fn is_subdomain(name: &str) -> bool {
    name.len() <= MAX_NAME_LENGTH as usize
        && name.split('.').all(|part| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !part.is_empty()
                && part.bytes().all(inner)
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        for good in ["a", "a-b", "0", "6f9c4f0e-8d4b-4f3a-9d5e-3f1b2c4d5e6f"] {
            assert!(is_label(good) && is_subdomain(good), "{good}");
        }
        assert!(is_subdomain("a.b") && !is_label("a.b"));
        for wrong in [
            "", "A", "-a", "a-", "a_b", "a/b", "..", "a..b", "é", "a b", "a%2f",
        ] {
            assert!(!is_label(wrong) && !is_subdomain(wrong), "{wrong}");
        }
        assert!(!is_label(&"a".repeat(64)) && !is_subdomain(&"a".repeat(254)));
    }

    proptest! {
        #[test]
        fn no_name_escapes_its_segment_of_a_path(name in "\\PC{0,20}") {
            if is_subdomain(&name) {
                prop_assert!(!name.contains(['/', '%', '?', '#', '\\']) && !name.contains(".."));
            }
        }
    }
}
