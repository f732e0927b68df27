//! Objects of a batch. `system/<job uid>/` holds the plan and the parts, which nobody but the operator and its
//! runners can write; at the end the operator copies the parts to the output below `data/`.
//!
//! ```text
//! system/<job uid>/plan.json                               the complete plan; its existence is the commit
//! system/<job uid>/plan/<plan id>/<shard>.jsonl            the items of one shard
//! system/<job uid>/parts/<shard>.<from>-<to>[.end].jsonl   rows of a range of a shard; existence: done
//! system/<job uid>/formatted/<part>.<token>.<format>       the same rows in the batch's format
//! system/<job uid>/tenant                                  the job's namespace; the first to be written
//! data/<namespace>/<output prefix>/<job uid>/...           copies of the parts, and `_SUCCESS.json`
//! ```

use crate::{InvalidKey, ObjectKey, Store, StoreError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Metadata in which a part describes itself: the header `x-amz-meta-part`.
const PART_METADATA: &str = "part";

/// What is encoded in the header that names a copy's source.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A range of a shard, as the name of its part has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartName {
    /// Number of the shard in the batch.
    pub shard: u32,
    /// Index of the first picture in the shard.
    pub from: u64,
    /// Index after the last picture.
    pub to: u64,
    /// Whether the shard ends there.
    pub end: bool,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shard,
            from,
            to,
            end,
        } = self;
        let end = if *end { ".end" } else { "" };
        write!(f, "{shard:06}.{from}-{to}{end}")
    }
}

impl PartName {
    /// Parses what [`PartName`] displays; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, end) = match text.strip_suffix(".end") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (shard, range) = rest.split_once('.')?;
        let (from, to) = range.split_once('-')?;
        let name = Self {
            shard: shard.parse().ok()?,
            from: from.parse().ok()?,
            to: to.parse().ok()?,
            end,
        };
        (name.from <= name.to && name.to_string() == text).then_some(name)
    }
}

/// Chooses parts of which no two hold the same picture: of each shard in order, and of several that begin
/// at the same picture the longest. What a part left out would have covered has to be done again.
#[must_use]
pub fn choose(mut parts: Vec<PartName>) -> Vec<PartName> {
    parts.sort_by_key(|part| (part.shard, part.from, Reverse((part.to, part.end))));
    let mut chosen: Vec<PartName> = Vec::with_capacity(parts.len());
    for part in parts {
        let follows = chosen.last().is_none_or(|last| {
            last.shard != part.shard || (part.from >= last.to && !last.end && last != &part)
        });
        if follows {
            chosen.push(part);
        }
    }
    chosen
}

/// What a part says of itself, in its metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartMetadata {
    /// Rows with a result.
    pub succeeded: u64,
    /// Rows with an error.
    pub failed: u64,
    /// Members of an archive that are no pictures.
    pub skipped: u64,
    /// Length of the rows in bytes.
    pub bytes: u64,
    /// SHA-256 of the rows.
    pub sha256: String,
    /// The rows in the batch's format, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formatted: Option<Formatted>,
    /// Rows with a result that was given before.
    #[serde(default)]
    pub reused: u64,
}

/// A part in the batch's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formatted {
    /// Its name below `formatted/`.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// A signed PUT that fails with 412 if the object exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPut {
    /// The presigned URL.
    pub url: String,
    /// Headers that are signed, too.
    pub headers: BTreeMap<String, String>,
}

impl ObjectKey {
    /// The namespace of a batch's job, as text.
    pub fn batch_namespace(job_uid: &str) -> Result<Self, InvalidKey> {
        Self::system(job_uid, "tenant")
    }

    /// The complete plan of a batch.
    pub fn plan(job_uid: &str) -> Result<Self, InvalidKey> {
        Self::system(job_uid, "plan.json")
    }

    /// The items of one shard.
    pub fn plan_shard(job_uid: &str, plan: &str, shard: u32) -> Result<Self, InvalidKey> {
        Self::system(job_uid, &format!("plan/{plan}/{shard:06}.jsonl"))
    }

    /// The rows of a part.
    pub fn part(job_uid: &str, part: PartName) -> Result<Self, InvalidKey> {
        Self::system(job_uid, &format!("parts/{part}.jsonl"))
    }

    /// A part in the batch's format; `name` as [`Formatted::name`] has it.
    pub fn formatted_part(job_uid: &str, name: &str) -> Result<Self, InvalidKey> {
        Self::system(job_uid, &format!("formatted/{name}"))
    }

    /// An object of a batch's output.
    pub fn output(
        namespace: &str,
        prefix: &str,
        job_uid: &str,
        name: &str,
    ) -> Result<Self, InvalidKey> {
        Self::data(namespace, &format!("{prefix}/{job_uid}/{name}"))
    }
}

impl Store {
    /// The parts of a batch that exist, in order; some may overlap, see [`choose`].
    pub async fn parts(&self, job_uid: &str) -> Result<Vec<PartName>, StoreError> {
        let any = ObjectKey::system(job_uid, "parts/x").map_err(invalid)?;
        let prefix = any.as_str().trim_end_matches('x').to_owned();
        let root = prefix.len();
        let mut pages = self.pages(prefix, root);
        let mut parts = Vec::new();
        while let Some(objects) = pages.next().await? {
            let names = objects.iter();
            let names = names.filter_map(|object| object.key.strip_suffix(".jsonl"));
            parts.extend(names.filter_map(PartName::parse));
        }
        // Stores list in orders of their own.
        parts.sort_unstable();
        Ok(parts)
    }

    /// Whether a batch has no object below `system/` but [`ObjectKey::batch_namespace`].
    pub async fn has_only_its_namespace(&self, job_uid: &str) -> Result<bool, StoreError> {
        let name = ObjectKey::batch_namespace(job_uid).map_err(invalid)?;
        let (folder, _) = name.as_str().rsplit_once('/').unwrap_or_default();
        let mut pages = self.pages(format!("{folder}/"), 0);
        while let Some(objects) = pages.next().await? {
            if objects.iter().any(|object| object.key != name.as_str()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a part says of itself; `None` if there is no such part.
    pub async fn part_metadata(
        &self,
        job_uid: &str,
        part: PartName,
    ) -> Result<Option<PartMetadata>, StoreError> {
        let key = ObjectKey::part(job_uid, part).map_err(invalid)?;
        let request = self.client.head_object().bucket(&self.bucket);
        let found = match request.key(key.as_str()).send().await {
            Ok(found) => found,
            Err(error) => {
                return match StoreError::from_sdk(&error, &self.bucket, key.as_str()) {
                    StoreError::NotFound { .. } => Ok(None),
                    error => Err(error),
                };
            }
        };
        let text = found.metadata().and_then(|all| all.get(PART_METADATA));
        let parsed = text.and_then(|text| serde_json::from_str(text).ok());
        let unknown = || StoreError::Config(format!("{key} does not describe itself"));
        parsed.map(Some).ok_or_else(unknown)
    }

    /// A signed PUT of an object that must not exist yet. With `metadata`, it is that part. Signing sends
    /// no request.
    pub async fn presign_put_if_absent(
        &self,
        key: &ObjectKey,
        bytes: u64,
        metadata: Option<&PartMetadata>,
        lifetime: Duration,
    ) -> Result<SignedPut, StoreError> {
        if !key.is_inside_its_prefix() {
            return Err(StoreError::Config(format!(
                "refusing to presign {key}: it left its prefix"
            )));
        }
        let config = |error: &dyn fmt::Display| StoreError::Config(error.to_string());
        let presigning = self.presigning(lifetime).await?;
        let put = self.client.put_object().bucket(&self.bucket);
        let mut put = put
            .key(key.as_str())
            .if_none_match("*")
            .content_length(i64::try_from(bytes).map_err(|error| config(&error))?);
        if let Some(metadata) = metadata {
            let json = serde_json::to_string(metadata).map_err(|error| config(&error))?;
            put = put.metadata(PART_METADATA, json);
        }
        let signed = put
            .presigned(presigning)
            .await
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, key.as_str()))?;
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(SignedPut {
            url: signed.uri().to_owned(),
            headers: signed.headers().map(owned).collect(),
        })
    }

    /// Copies an object inside the store, replacing any that has the key `to`.
    pub async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        let source = utf8_percent_encode(from.as_str(), ENCODED);
        self.client
            .copy_object()
            .bucket(&self.bucket)
            .copy_source(format!("{}/{source}", self.bucket))
            .key(to.as_str())
            .send()
            .await
            .map(|_| ())
            .map_err(|error| StoreError::from_sdk(&error, &self.bucket, to.as_str()))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn invalid(error: InvalidKey) -> StoreError {
    StoreError::Config(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(text: &str) -> PartName {
        PartName::parse(text).unwrap()
    }

    #[test]
    fn a_part_s_name_is_read_back_and_nothing_else_is_one() {
        for text in ["000000.0-1000", "000042.500-1000.end", "1000000.0-0.end"] {
            assert_eq!(part(text).to_string(), text);
        }
        for text in [
            "",
            "0.0-1",
            "000000.1-0",
            "000000.0-1.END",
            "000000.00-1",
            "000000.0-1.jsonl",
        ] {
            assert_eq!(PartName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn of_overlapping_parts_the_longest_first_one_is_chosen() {
        let all = [
            "000000.0-5",
            "000000.0-9.end",
            "000000.5-9.end",
            "000001.2-3",
            "000001.0-2",
        ];
        let chosen = choose(all.map(part).to_vec());
        let names: Vec<_> = chosen.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["000000.0-9.end", "000001.0-2", "000001.2-3"]);
    }

    proptest! {
        #[test]
        fn chosen_parts_hold_no_picture_twice(
            ranges in prop::collection::vec((0u32..3, 0u64..20, 0u64..8), 0..30)
        ) {
            let parts = ranges.iter().map(|&(shard, from, length)| PartName {
                shard, from, to: from + length, end: false,
            });
            let chosen = choose(parts.collect());
            for pair in chosen.windows(2) {
                prop_assert!(pair[0].shard < pair[1].shard || pair[0].to <= pair[1].from);
            }
        }
    }
}
