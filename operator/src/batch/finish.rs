//! The end of a batch: its parts are copied to the output, and `_SUCCESS.json` lists them. A repetition, also
//! after a crash in the middle, writes the same objects with the same bytes.

use super::plan::{Batch, Plan, PlanOf};
use crate::kill_points;
use bytes::Bytes;
use fovea_crds::{BatchOutput, Failure, OutputFormat, ServedModel};
use fovea_protocol::Task;
use fovea_store::{
    DataObject, InvalidKey, ObjectKey, PartMetadata, PartName, Sha256, Store, StoreError,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use std::collections::HashSet;

/// Bound on concurrent copies and deletions.
const MAX_COPIES: usize = 8;

/// Written last: the output is complete.
const SUCCESS: &str = "_SUCCESS.json";

/// `_SUCCESS.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Success<'a> {
    /// Uid of the job.
    job: &'a str,
    namespace: &'a str,
    name: &'a str,
    task: Task,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a ServedModel>,
    format: OutputFormat,
    totals: Totals,
    parts: &'a [OutputPart],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Totals {
    total: u64,
    succeeded: u64,
    failed: u64,
    skipped: u64,
}

/// A part of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct OutputPart {
    name: String,
    rows: u64,
    succeeded: u64,
    failed: u64,
    bytes: u64,
    sha256: String,
    /// The object that is copied.
    #[serde(skip)]
    from: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Rows(PartName),
    Formatted(String),
}

/// Copies the parts that [`fovea_store::choose_parts`] chose, without the empty ones. With `complete` they must
/// cover the plan, and `_SUCCESS.json` is written; without it there is none afterwards.
pub(crate) async fn finish(
    store: &Store,
    batch: Batch<'_>,
    plan: &Plan,
    parts: &[(PartName, PartMetadata)],
    complete: bool,
) -> Result<BatchOutput, StoreError> {
    let format = batch.output.format;
    let (parts, totals) = listed(plan, parts, format, complete).map_err(StoreError::Config)?;
    let output = |name: &str| {
        let prefix = &batch.output.prefix;
        ObjectKey::output(batch.namespace, prefix, batch.uid, name).map_err(invalid)
    };
    let copies = parts.iter().map(|part| {
        let from = match &part.from {
            Source::Rows(part) => ObjectKey::part(batch.uid, *part),
            Source::Formatted(name) => ObjectKey::formatted_part(batch.uid, name),
        };
        Ok((from.map_err(invalid)?, output(&part.name)?))
    });
    let copies: Vec<_> = copies.collect::<Result<_, StoreError>>()?;
    stream::iter(copies)
        .map(|(from, to)| async move {
            store.copy(&from, &to).await?;
            kill_points::after(kill_points::BATCH_PART_COPIED);
            Ok::<_, StoreError>(())
        })
        .buffer_unordered(MAX_COPIES)
        .try_collect::<()>()
        .await?;
    remove_stale(store, batch, &parts, complete).await?;
    let success_sha256 = if complete {
        let success = Success {
            job: batch.uid,
            namespace: batch.namespace,
            name: batch.name,
            task: batch.task,
            model: batch.model,
            format,
            totals,
            parts: &parts,
        };
        let json = serde_json::to_vec_pretty(&success);
        let json = json.map_err(|error| StoreError::Config(error.to_string()))?;
        let digest = Sha256::of(&json).to_string();
        store
            .put(&output(SUCCESS)?, json.into(), "application/json")
            .await?;
        kill_points::after(kill_points::BATCH_SUCCESS_WRITTEN);
        Some(digest)
    } else {
        None
    };
    Ok(BatchOutput {
        prefix: format!("{}/{}", batch.output.prefix, batch.uid),
        parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
        success_sha256,
    })
}

/// The output's parts, and what they add up to. The error says what does not fit together.
fn listed(
    plan: &Plan,
    parts: &[(PartName, PartMetadata)],
    format: OutputFormat,
    complete: bool,
) -> Result<(Vec<OutputPart>, Totals), String> {
    let mut totals = Totals {
        skipped: plan.skipped,
        ..Totals::default()
    };
    let mut listed = Vec::with_capacity(parts.len());
    for (name, metadata) in parts {
        let rows = name.to - name.from;
        if metadata.succeeded.checked_add(metadata.failed) != Some(rows) {
            return Err(format!("the part {name} does not have {rows} rows"));
        }
        totals.total += rows;
        totals.succeeded += metadata.succeeded;
        totals.failed += metadata.failed;
        totals.skipped += metadata.skipped;
        if rows == 0 {
            continue;
        }
        let (from, bytes, sha256) = match (format, &metadata.formatted) {
            (OutputFormat::Jsonl, _) => {
                (Source::Rows(*name), metadata.bytes, metadata.sha256.clone())
            }
            (_, Some(formatted)) => (
                Source::Formatted(formatted.name.clone()),
                formatted.bytes,
                formatted.sha256.clone(),
            ),
            (_, None) => {
                return Err(format!(
                    "the part {name} is not there as {}",
                    format.as_str()
                ));
            }
        };
        listed.push(OutputPart {
            name: part_name(*name, format),
            rows,
            succeeded: metadata.succeeded,
            failed: metadata.failed,
            bytes,
            sha256,
            from,
        });
    }
    // The pictures of archives are counted by their parts alone.
    if complete && plan.of == PlanOf::Pictures && totals.total != plan.items() {
        let (rows, items) = (totals.total, plan.items());
        return Err(format!("the parts have {rows} rows for {items} pictures"));
    }
    Ok((listed, totals))
}

fn part_name(PartName { shard, from, .. }: PartName, format: OutputFormat) -> String {
    format!("part-{shard:06}-{from:07}.{}", format.as_str())
}

/// Whether this is the name of a part, in any format.
fn is_part_name(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = || {
        let (part, extension) = name.strip_prefix("part-")?.split_once('.')?;
        let (shard, from) = part.split_once('-')?;
        let formats = [
            OutputFormat::Jsonl,
            OutputFormat::Csv,
            OutputFormat::Parquet,
        ];
        let is_format = formats.iter().any(|format| format.as_str() == extension);
        Some(digits(shard) && digits(from) && is_format)
    };
    parsed() == Some(true)
}

/// Deletes what an earlier call wrote and this one does not: a part that came late can take the place of
/// several that were copied before.
async fn remove_stale(
    store: &Store,
    batch: Batch<'_>,
    parts: &[OutputPart],
    complete: bool,
) -> Result<(), StoreError> {
    let folder = format!("{}/{}", batch.output.prefix, batch.uid);
    let written: HashSet<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let mut pages = store.list_data(batch.namespace, &folder)?;
    while let Some(objects) = pages.next().await? {
        let is_stale = |object: &DataObject| {
            let name = object.key.strip_prefix(&folder)?.strip_prefix('/')?;
            let is_ours = is_part_name(name) || (name == SUCCESS && !complete);
            Some(is_ours && !written.contains(name))
        };
        let stale = objects
            .iter()
            .filter(|object| is_stale(object) == Some(true));
        let stale: Vec<_> = stale
            .map(|object| ObjectKey::data(batch.namespace, &object.key))
            .collect::<Result<_, _>>()
            .map_err(invalid)?;
        stream::iter(stale)
            .map(|key| async move { store.delete(&key).await })
            .buffer_unordered(MAX_COPIES)
            .try_collect::<()>()
            .await?;
    }
    Ok(())
}

/// Records the batch's namespace, by which it sees whether the store honours `If-None-Match: *`, by which of two
/// writers of a part one loses. A store that does not cannot hold batches: the inner error.
pub(crate) async fn probe(
    store: &Store,
    uid: &str,
    namespace: &str,
) -> Result<Result<(), Failure>, StoreError> {
    let refused = |why: &str| {
        Ok(Err(Failure {
            reason: "ConditionalPutUnsupported".to_owned(),
            message: format!(
                "the object store {why}, so two writers of a part would not notice each other: batches need a store that honours If-None-Match: *, such as Amazon S3 or MinIO"
            ),
            retryable: false,
        }))
    };
    let key = ObjectKey::batch_namespace(uid).map_err(invalid)?;
    let text = Bytes::copy_from_slice(namespace.as_bytes());
    // The second one must lose, whether the first one wrote the object or an earlier probe did.
    for is_second in [false, true] {
        match store.put_if_absent(&key, text.clone()).await {
            Ok(true) if is_second => return refused("ignores the header If-None-Match"),
            Ok(_) => {}
            Err(StoreError::Rejected(answer)) => {
                return refused(&format!("rejects the header If-None-Match ({answer})"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(()))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn invalid(error: InvalidKey) -> StoreError {
    StoreError::Config(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::plan::ShardSize;
    use super::*;
    use fovea_store::Formatted;

    fn plan(of: PlanOf, items: u32) -> Plan {
        Plan {
            id: "id".to_owned(),
            of,
            shards: vec![ShardSize { items, bytes: 0 }],
            skipped: 2,
        }
    }

    fn part(name: &str, succeeded: u64, failed: u64) -> (PartName, PartMetadata) {
        let metadata = PartMetadata {
            succeeded,
            failed,
            skipped: 1,
            bytes: 10,
            sha256: "rows".to_owned(),
            formatted: None,
            reused: 0,
        };
        (PartName::parse(name).unwrap(), metadata)
    }

    #[test]
    fn parts_add_up_to_the_totals_and_empty_ones_are_left_out() {
        let parts = [
            part("000000.0-3", 2, 1),
            part("000000.3-4.end", 1, 0),
            part("000001.0-0.end", 0, 0),
        ];
        let plan = plan(PlanOf::Pictures, 4);
        let (parts, totals) = listed(&plan, &parts, OutputFormat::Jsonl, true).unwrap();
        let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(
            names,
            ["part-000000-0000000.jsonl", "part-000000-0000003.jsonl"]
        );
        let expected = Totals {
            total: 4,
            succeeded: 3,
            failed: 1,
            skipped: 5,
        };
        assert_eq!(totals, expected);
    }

    #[test]
    fn what_does_not_add_up_is_no_output() {
        let pictures = plan(PlanOf::Pictures, 4);
        let short = [part("000000.0-3", 3, 0)];
        let wrong = [part("000000.0-4.end", 3, 0)];
        let listed = |plan: &Plan, parts: &[_], complete| {
            listed(plan, parts, OutputFormat::Jsonl, complete).map(|(_, totals)| totals.total)
        };
        assert!(
            listed(&pictures, &short, true)
                .unwrap_err()
                .contains("3 rows for 4")
        );
        assert_eq!(listed(&pictures, &short, false), Ok(3));
        assert_eq!(listed(&plan(PlanOf::Archives, 1), &short, true), Ok(3));
        assert!(
            listed(&pictures, &wrong, false)
                .unwrap_err()
                .contains("4 rows")
        );
    }

    #[test]
    fn a_part_in_another_format_is_its_formatted_object() {
        let plan = plan(PlanOf::Pictures, 3);
        let mut one = part("000000.0-3.end", 3, 0);
        let missing = listed(&plan, &[one.clone()], OutputFormat::Csv, true);
        assert!(missing.unwrap_err().contains("not there as csv"));
        one.1.formatted = Some(Formatted {
            name: "000000.0-3.end.x.csv".to_owned(),
            bytes: 7,
            sha256: "formatted".to_owned(),
        });
        let (parts, _) = listed(&plan, &[one], OutputFormat::Csv, true).unwrap();
        let [part] = &parts[..] else {
            panic!("one part")
        };
        assert_eq!(
            (part.name.as_str(), part.bytes),
            ("part-000000-0000000.csv", 7)
        );
        assert_eq!(part.sha256, "formatted");
        assert_eq!(
            part.from,
            Source::Formatted("000000.0-3.end.x.csv".to_owned())
        );
    }

    #[test]
    fn only_the_names_of_parts_are_taken_for_parts() {
        for name in [
            "part-000000-0000000.jsonl",
            "part-1000000-99.csv",
            "part-000001-2.parquet",
        ] {
            assert!(is_part_name(name), "{name}");
        }
        for name in [
            "part-0-.csv",
            "part-a-0.csv",
            "part-0-0.txt",
            "part-0.csv",
            "x/part-0-0.csv",
        ] {
            assert!(!is_part_name(name), "{name}");
        }
    }
}
