//! Items from an object that lists them, which is read once, piece by piece.
//!
//! Lines are parsed on a blocking thread: a small object can decompress to gigabytes. Neither ids nor keys are
//! compared with one another, which would take memory for each: of two lines with the same id both are items,
//! and both have their rows.

mod csv;
mod item;
mod json;
mod parse;
mod records;
mod text;

use super::writer::Writer;
use super::{Batch, MAX_ITEMS, PlanError, PlanItem};
use bytes::Bytes;
use fovea_crds::Failure;
use fovea_store::{ObjectKey, Store, StoreError};
use item::Checks;
use parse::Form;
use std::io::{self, Read};
use text::ManifestError;
use tokio::sync::mpsc;

/// Bound on pieces, and on groups of items, between two steps. The faster step waits.
const MAX_WAITING: usize = 4;

/// Number of items that are passed on together.
const GROUP: usize = 128;

/// Passes the items of the manifest `key` to `writer`.
pub(super) async fn read(
    store: &Store,
    batch: Batch<'_>,
    key: &str,
    writer: &mut Writer<'_, impl Fn(u64)>,
) -> Result<(), PlanError> {
    let object = ObjectKey::data(batch.namespace, key).map_err(|why| {
        PlanError::never("InvalidInput", &format!("spec.input.manifest.key: {why}"))
    })?;
    let mut reader = match store.open(&object).await {
        Ok(reader) => reader,
        Err(StoreError::NotFound { .. }) => {
            return Err(PlanError::Never(Failure {
                reason: "ManifestNotFound".to_owned(),
                message: format!(
                    "there is no object {object}: check spec.input.manifest.key, which is relative to data/{}/, and write the manifest before the batch",
                    batch.namespace
                ),
                retryable: true,
            }));
        }
        Err(error) => return Err(error.into()),
    };
    let (pieces, input) = mpsc::channel(MAX_WAITING);
    let (groups, mut items) = mpsc::channel(MAX_WAITING);
    let form = Form::of(key);
    let checks = Checks::new(batch.namespace, batch.task);
    let parsing = tokio::task::spawn_blocking(move || {
        let mut passing = Passing {
            groups,
            group: Vec::new(),
        };
        parse::parse(Pieces::new(input), form, &checks, &mut |item| {
            passing.push(item)
        })?;
        passing.pass()
    });
    let fetch = async move {
        while let Some(piece) = reader.next().await {
            if pieces.send(piece?).await.is_err() {
                // The parser has ended, and says why.
                break;
            }
        }
        Ok(())
    };
    let write = async {
        while let Some(group) = items.recv().await {
            for item in &group {
                writer.push(item).await?;
            }
        }
        Ok::<_, PlanError>(())
    };
    // A failed fetch ends what the parser reads as if the manifest ended there: the fetch's error counts.
    tokio::try_join!(fetch, write)?;
    let parsed = parsing.await;
    parsed
        .map_err(|error| StoreError::Unavailable(error.to_string()))?
        .map_err(|error| refused(&object, &error))?;
    if writer.items() == 0 {
        let message = format!(
            "{object} lists no picture: write a line such as {{\"key\": \"cats/1.jpg\"}} for each, or CSV with the column key if its name ends with .csv"
        );
        return Err(PlanError::never("NoPictures", &message));
    }
    Ok(())
}

fn refused(object: &ObjectKey, error: &ManifestError) -> PlanError {
    let reason = match error {
        ManifestError::TooLarge | ManifestError::TooManyLines => "TooManyItems",
        ManifestError::Compression(_) | ManifestError::Header(_) | ManifestError::Stopped => {
            "InvalidManifest"
        }
    };
    PlanError::never(reason, &format!("{object}: {error}"))
}

/// Passes items on in groups.
struct Passing {
    groups: mpsc::Sender<Vec<PlanItem>>,
    group: Vec<PlanItem>,
}

impl Passing {
    fn push(&mut self, item: PlanItem) -> Result<(), ManifestError> {
        self.group.push(item);
        if self.group.len() < GROUP {
            return Ok(());
        }
        self.pass()
    }

    fn pass(&mut self) -> Result<(), ManifestError> {
        let group = std::mem::take(&mut self.group);
        let sent = self.groups.blocking_send(group);
        // Nobody wants the plan any more.
        sent.map_err(|_| ManifestError::Stopped)
    }
}

/// The object's bytes for a thread that blocks. It ends where the pieces end.
struct Pieces {
    input: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Pieces {
    fn new(input: mpsc::Receiver<Bytes>) -> Self {
        let piece = Bytes::new();
        Self { input, piece }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.input.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
