//! Batches: their pictures and archives, and what is checked of their results.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use fovea_crds::{BatchOutput, InferenceJob, InferenceJobSpec, Input, Output, OutputFormat, Task};
use fovea_protocol::Row;
use fovea_store::{ObjectKey, Store};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// PUTs at once.
const IN_FLIGHT: usize = 32;
/// Bound on a part.
const MAX_PART_BYTES: u64 = 256 << 20;
/// Lists the parts of a batch that has done every picture.
const SUCCESS: &str = "_SUCCESS.json";

/// A batch that writes JSON Lines below `output`.
pub fn batch(name: &str, task: Task, input: Input, output: &str) -> InferenceJob {
    let mut spec = InferenceJobSpec::new(task, input);
    spec.output = Some(Output {
        prefix: output.to_owned(),
        format: OutputFormat::Jsonl,
    });
    InferenceJob::new(name, spec)
}

/// Every picture below a prefix.
pub fn prefix(prefix: &str) -> Input {
    Input::Prefix {
        prefix: prefix.to_owned(),
        include: Vec::new(),
        exclude: Vec::new(),
    }
}

/// A BMP of 16 by 16 pixels that differs from that of every other number.
pub fn picture(number: u32) -> Vec<u8> {
    const SIDE: u32 = 16;
    let [blue, green, red, _] = number.wrapping_mul(0x9e37_79b1).to_le_bytes();
    let mut bmp = b"BM".to_vec();
    let pixels = SIDE * SIDE * 3;
    // The file's size and the pixels' place, the header's size, the picture's, one plane of 24 bits.
    for field in [54 + pixels, 0, 54, 40, SIDE, SIDE, 24 << 16 | 1, 0, pixels] {
        bmp.extend(field.to_le_bytes());
    }
    bmp.extend([0; 16]);
    for at in 0..SIDE * SIDE {
        // The first pixels are the number itself.
        let own = u8::from(at < 32 && number >> at & 1 == 1) * 0x80;
        bmp.extend([blue ^ own, green, red]);
    }
    bmp
}

/// Writes an object below `data/<namespace>/`.
pub async fn put(store: &Store, namespace: &str, key: &str, body: impl Into<Bytes>) -> Result<()> {
    let key = ObjectKey::data(namespace, key)?;
    let kind = "application/octet-stream";
    Ok(store.put(&key, body.into(), kind).await?)
}

/// Writes objects below `data/<namespace>/`, many at a time.
pub async fn put_all(
    store: &Store,
    namespace: &str,
    objects: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<()> {
    let put =
        |(key, body): (String, Vec<u8>)| async move { put(store, namespace, &key, body).await };
    let putting = futures::stream::iter(objects).map(put);
    putting.buffer_unordered(IN_FLIGHT).try_collect().await
}

/// A tar archive in the format ustar, of files with short names.
pub fn tar<'a>(members: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut archive = Vec::new();
    for (name, body) in members {
        assert!(name.len() < 100, "{name}");
        let mut header = [0; BLOCK];
        let mut write =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        write(0, name);
        write(100, "0000644\0");
        write(108, "0000000\0");
        write(116, "0000000\0");
        write(124, &format!("{:011o}\0", body.len()));
        write(136, "00000000000\0");
        // The checksum counts itself as spaces.
        write(148, "        ");
        write(156, "0");
        write(257, "ustar\x0000");
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend(header);
        archive.extend(body);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// What a batch has written below `data/<namespace>/<output.prefix>/`.
#[derive(Debug)]
pub struct Written {
    /// Each object by its name.
    pub objects: BTreeMap<String, Bytes>,
    /// `_SUCCESS.json`, if it exists.
    pub success: Option<Value>,
}

impl Written {
    /// Reads everything, and compares `_SUCCESS.json` with the status and with the parts.
    pub async fn read(store: &Store, namespace: &str, output: &BatchOutput) -> Result<Self> {
        let mut objects = BTreeMap::new();
        let mut pages = store.list_data(namespace, &output.prefix)?;
        while let Some(page) = pages.next().await? {
            for object in page {
                let key = ObjectKey::data(namespace, &object.key)?;
                let body = store.get(&key, MAX_PART_BYTES).await?;
                let name = object.key.rsplit('/').next().context("a name")?;
                objects.insert(name.to_owned(), body);
            }
        }
        let success = objects.remove(SUCCESS);
        let digest = success.as_ref().map(digest);
        ensure!(digest == output.success_sha256, "{digest:?}: {output:?}");
        ensure!(
            u32::try_from(objects.len())? == output.parts,
            "{:?}",
            objects.keys()
        );
        let success: Option<Value> = success
            .map(|text| serde_json::from_slice(&text))
            .transpose()?;
        if let Some(success) = &success {
            let parts = success["parts"].as_array().context("no parts")?;
            ensure!(parts.len() == objects.len(), "{success}");
            for part in parts {
                let name = part["name"].as_str().context("no name")?;
                let body = objects.get(name).with_context(|| format!("no {name}"))?;
                ensure!(part["sha256"] == digest_of(body), "{part}");
            }
        }
        Ok(Self { objects, success })
    }

    /// The rows of JSON Lines, part after part.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (name, body) in &self.objects {
            ensure!(
                Path::new(name).extension().is_some_and(|it| it == "jsonl"),
                "{name}"
            );
            for line in std::str::from_utf8(body)?.lines() {
                rows.push(serde_json::from_str(line).with_context(|| format!("{name}: {line}"))?);
            }
        }
        Ok(rows)
    }
}

/// Checks that each picture of `expected`, by its id, has exactly one row.
pub fn each_once(rows: &[Row], expected: impl IntoIterator<Item = String>) -> Result<()> {
    let mut counts: BTreeMap<String, i64> = expected.into_iter().map(|id| (id, -1)).collect();
    for row in rows {
        *counts.entry(row.id.clone()).or_default() += 1;
    }
    counts.retain(|_, count| *count != 0);
    let few: Vec<_> = counts.iter().take(20).collect();
    ensure!(
        counts.is_empty(),
        "{} rows are missing (-1) or too many (+1): {few:?}",
        counts.len()
    );
    Ok(())
}

fn digest(body: &Bytes) -> String {
    hex::encode(Sha256::digest(body))
}

fn digest_of(body: &Bytes) -> Value {
    Value::String(digest(body))
}
