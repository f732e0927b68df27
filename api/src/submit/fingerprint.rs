//! Equality of requests, and the names of their jobs.

use crate::validate::ValidRequest;
use fovea_crds::Input;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// SHA-256 over all fields of a request and its input: equal for equal requests, in any of the three
/// forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(String);

impl Fingerprint {
    pub(crate) fn of(request: &ValidRequest, input: &Input) -> Result<Self, serde_json::Error> {
        // serde writes a struct's fields in their order of declaration, so this JSON is canonical.
        let canonical = serde_json::to_vec(&("fovea.dev/v1alpha1", request, input))?;
        Ok(Self(hex::encode(Sha256::digest(canonical))))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a job's name is chosen before anything is stored.
#[derive(Clone, Debug)]
pub(crate) enum Naming {
    /// A random name, without an Idempotency-Key.
    Random,
    /// The same name for the same user's same Idempotency-Key.
    Keyed {
        namespace: String,
        user: String,
        key: String,
    },
}

impl Naming {
    /// The name of the `generation`-th try. The next generation is used only if the previous one is a
    /// tombstone, whose request got an error: a repeated request gets a new job.
    pub(crate) fn name(&self, generation: u8) -> String {
        let uuid = match self {
            Self::Random => Uuid::new_v4(),
            Self::Keyed {
                namespace,
                user,
                key,
            } => {
                let mut hash = Sha256::new();
                // Lengths first, so that different parts never yield the same bytes.
                for part in ["fovea.dev/job", namespace, user, key] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
                hash.update([generation]);
                let digest: [u8; 32] = hash.finalize().into();
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&digest[..16]);
                Uuid::new_v8(bytes)
            }
        };
        uuid.hyphenated().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::JobRequest;
    use std::collections::HashSet;

    fn keyed(namespace: &str, user: &str, key: &str) -> Naming {
        Naming::Keyed {
            namespace: namespace.into(),
            user: user.into(),
            key: key.into(),
        }
    }

    #[test]
    fn a_key_names_the_same_job_for_the_same_user_only() {
        assert_eq!(keyed("a", "b", "c").name(0), keyed("a", "b", "c").name(0));
        let names: HashSet<_> = [
            ("a", "b", "c"),
            ("ab", "", "c"),
            ("a", "bc", ""),
            ("", "ab", "c"),
            ("a", "b", "C"),
        ]
        .iter()
        .flat_map(|(n, u, k)| [keyed(n, u, k).name(0), keyed(n, u, k).name(1)])
        .collect();
        assert_eq!(names.len(), 10);
    }

    #[test]
    fn the_name_of_a_key_never_changes_between_releases() {
        assert_eq!(
            keyed("default", "anonymous", "order-7").name(0),
            "da1b0340-e00d-8aaf-a757-95b450bcf7ad"
        );
    }

    #[test]
    fn names_are_lower_case_uuids_that_say_how_they_were_made() {
        for (naming, version) in [(Naming::Random, 4), (keyed("a", "b", "c"), 8)] {
            let name = naming.name(0);
            let uuid = Uuid::parse_str(&name).unwrap();
            assert_eq!(uuid.get_version_num(), version);
            assert_eq!(uuid.hyphenated().to_string(), name);
        }
        assert_ne!(Naming::Random.name(0), Naming::Random.name(0));
    }

    #[test]
    fn the_fingerprint_of_a_request_never_changes_between_releases() {
        let request = JobRequest::default().validate().unwrap();
        let input = Input::Upload { sha256: "a".into() };
        assert_eq!(
            Fingerprint::of(&request, &input).unwrap().as_str(),
            "fe2dfa2dc8831dfb1211f99e932fc0380870621350094e664c3c02794b346659"
        );
    }

    #[test]
    fn every_part_of_a_request_is_in_its_fingerprint() {
        let upload = |digest: &str| Input::Upload {
            sha256: digest.into(),
        };
        let request = |fields: &[(&str, &str)]| {
            let mut request = JobRequest::default();
            for (name, value) in fields {
                request.set(name, (*value).into()).unwrap();
            }
            request.validate().unwrap()
        };
        let of = |fields: &[(&str, &str)], source: &Input| {
            Fingerprint::of(&request(fields), source).unwrap().0
        };
        assert_eq!(
            of(&[], &upload("a")),
            of(
                &[("task", "image-to-text"), ("priority", "0")],
                &upload("a")
            )
        );
        let different: HashSet<_> = [
            of(&[], &upload("a")),
            of(&[], &upload("b")),
            of(&[], &Input::Object { key: "a".into() }),
            of(&[("task", "image-classification")], &upload("a")),
            of(&[("model", "blip")], &upload("a")),
            of(&[("pool", "p")], &upload("a")),
            of(&[("pool", "n/p")], &upload("a")),
            of(&[("priority", "1")], &upload("a")),
            of(&[("prompt", "a")], &upload("a")),
            of(&[("maxNewTokens", "5")], &upload("a")),
            of(&[("callbackUrl", "https://a")], &upload("a")),
            of(&[("reuse", "true")], &upload("a")),
        ]
        .into();
        assert_eq!(different.len(), 12);
    }
}
