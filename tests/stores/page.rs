//! The tables of docs/src/stores.md: a run replaces the rows of its stores.

use crate::checks::Check;
use crate::known;
use crate::speed::Measured;
use crate::survey::Fault;
use anyhow::{Context as _, Result};
use fovea_harness::{ObjectStore, stack};
use std::path::PathBuf;

const WORKS: &str = "<!-- works: make test-stores -->";
const SPEED: &str = "<!-- speed: make test-stores -->";
const END: &str = "<!-- end -->";
const MIB: f64 = 1024.0 * 1024.0;

fn path() -> PathBuf {
    stack::repository().join("docs/src/stores.md")
}

pub(crate) fn write_works(store: ObjectStore, faults: &[Fault]) -> Result<()> {
    let failed = |check: &Check| faults.iter().any(|fault| fault.check == *check);
    let missing: Vec<_> = Check::ALL.into_iter().filter(failed).collect();
    let reason = |check: &Check| {
        let mut known = known::faults(store).iter();
        let (_, reason) = known.find(|(known, _)| known == check)?;
        Some(format!("{}: {reason}", check.title()))
    };
    let exceptions: Vec<_> = missing.iter().filter_map(reason).collect();
    let works = Check::ALL.len() - missing.len();
    let row = format!(
        "| {} | {} | {works} of {} | {} | {} |",
        store.title(),
        store.version(),
        Check::ALL.len(),
        if exceptions.is_empty() {
            "–".to_owned()
        } else {
            exceptions.join("; ")
        },
        known::settings(store),
    );
    replace(WORKS, store, &row)
}

#[expect(clippy::cast_precision_loss, reason = "whole MiB are shown")]
pub(crate) fn write_speed(store: ObjectStore, measured: &Measured) -> Result<()> {
    let row = format!(
        "| {} | {:.0} | {:.0} | {:.2} | {:.1} | {:.0} | {:.0} |",
        store.title(),
        measured.per_second,
        measured.p99_ms,
        measured.beside_minio,
        measured.start_seconds,
        measured.rest_bytes as f64 / MIB,
        measured.loaded_bytes as f64 / MIB,
    );
    replace(SPEED, store, &row)
}

fn replace(mark: &str, store: ObjectStore, row: &str) -> Result<()> {
    let path = path();
    let text = std::fs::read_to_string(&path)?;
    let text = with_row(&text, mark, store, row)?;
    Ok(std::fs::write(&path, text)?)
}

/// The page with this row in the table after `mark`, in the order of [`ObjectStore::ALL`].
fn with_row(text: &str, mark: &str, store: ObjectStore, row: &str) -> Result<String> {
    let (before, rest) = text
        .split_once(mark)
        .with_context(|| format!("no {mark}"))?;
    let (table, after) = rest
        .split_once(END)
        .with_context(|| format!("no end of {mark}"))?;
    let rank = |line: &str| {
        let mut stores = ObjectStore::ALL.into_iter();
        stores.position(|each| line.starts_with(&format!("| {} |", each.title())))
    };
    let (mut rows, head): (Vec<&str>, Vec<&str>) =
        table.trim().lines().partition(|line| rank(line).is_some());
    rows.retain(|line| !line.starts_with(&format!("| {} |", store.title())));
    rows.push(row);
    rows.sort_by_key(|line| rank(line));
    let lines = head.into_iter().chain(rows).collect::<Vec<_>>().join("\n");
    Ok(format!("{before}{mark}\n\n{lines}\n\n{END}{after}"))
}

#[test]
fn a_row_replaces_that_of_its_store_and_no_other() {
    let page = format!("a\n{WORKS}\n\n| store |\n|---|\n| moto | old |\n\n{END}\nz\n");
    let page = with_row(&page, WORKS, ObjectStore::Minio, "| MinIO | new |").unwrap();
    let page = with_row(&page, WORKS, ObjectStore::Moto, "| moto | new |").unwrap();
    let table = "| store |\n|---|\n| MinIO | new |\n| moto | new |";
    assert_eq!(page, format!("a\n{WORKS}\n\n{table}\n\n{END}\nz\n"));
}
