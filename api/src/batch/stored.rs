//! What is uploaded with a batch, in the bucket: a manifest as it is, an archive as one plain tar.
//!
//! Each upload has a folder of its own, with a random name: a second request with the same Idempotency-Key and
//! another body must not replace what the first one's job reads.

use crate::archive::{
    self, ArchiveError, HEAD_BYTES, Kind, Limits, Selection, Summary, channel_reader,
    channel_writer, sniff,
};
use crate::budget::overloaded;
use crate::download::unread;
use crate::error::{Problem, ProblemType};
use crate::state::App;
use crate::validate::UPLOADED_PICTURES;
use bytes::{Bytes, BytesMut};
use fovea_crds::Input;
use fovea_store::{BATCH_UPLOADS, FolderOwner, ObjectKey, ObjectWriter, StoreError};
use futures::stream::Fuse;
use futures::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use std::pin::Pin;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::spawn_blocking;
use uuid::Uuid;

/// Most entries of an archive.
const MAX_ENTRIES: u64 = 1_000_000;
/// Decompressed, an archive may be so many times as large as an upload.
const MAX_RATIO: u64 = 4;

/// An upload's body in pieces, with the errors that its client gets.
pub(crate) type Pieces<'a> = Pin<&'a mut (dyn Stream<Item = Result<Bytes, Problem>> + Send)>;

/// An upload that lies in the bucket.
#[derive(Clone, Debug)]
pub(crate) struct StoredUpload {
    /// The batch's input.
    pub(crate) input: Input,
    /// The input by the upload's digest, which is equal for equal uploads.
    pub(crate) identity: Input,
}

impl StoredUpload {
    /// Reads a body to its end and stores it.
    pub(crate) async fn put(app: &App, namespace: &str, body: Pieces<'_>) -> Result<Self, Problem> {
        own_folder(app, namespace).await?;
        let mut body = Body {
            head: Bytes::new(),
            rest: body.fuse(),
            digest: Sha256::new(),
        };
        body.read_head().await?;
        let kind = sniff(&body.head).ok_or_else(|| {
            let detail = "the upload is no manifest in JSON Lines ({\"key\": ...} on each line) or in CSV (with a header that has the column key), no ZIP, and no tar, of which all but the ZIP may be compressed by gzip";
            Problem::new(ProblemType::NotABatch, detail)
        })?;
        let folder = format!("{BATCH_UPLOADS}/{}", Uuid::new_v4());
        match kind {
            Kind::Manifest(extension) => {
                let path = format!("{folder}/manifest.{extension}");
                let mut object = create(app, namespace, &path, "application/octet-stream").await?;
                while let Some(piece) = body.next().await {
                    object.write(piece?).await.map_err(unstored)?;
                }
                object.finish().await.map_err(unstored)?;
                Ok(Self {
                    input: Input::Manifest { key: path },
                    identity: Input::Manifest { key: body.digest() },
                })
            }
            Kind::Tar { .. } | Kind::Zip => {
                let path = format!("{folder}/{UPLOADED_PICTURES}");
                let mut object = create(app, namespace, &path, "application/x-tar").await?;
                let limits = limits(app);
                let Summary { pictures, skipped } = match kind {
                    Kind::Tar { gzip } => tar(app, &mut body, gzip, limits, &mut object).await?,
                    _ => zip(app, &mut body, limits, &mut object).await?,
                };
                object.finish().await.map_err(unstored)?;
                tracing::info!(path, pictures, skipped, "stored an uploaded archive");
                Ok(Self {
                    input: Input::Archives { prefix: folder },
                    identity: Input::Archives {
                        prefix: body.digest(),
                    },
                })
            }
        }
    }

    /// Stores some pictures of an archive that was uploaded before. `identity`: what tells these pictures from
    /// others.
    pub(crate) async fn selected(
        app: &App,
        namespace: &str,
        (from, selection): (&ObjectKey, Selection),
        identity: &str,
    ) -> Result<Self, Problem> {
        let mut source = app.store.open(from).await.map_err(|error| match error {
            StoreError::NotFound { .. } => {
                let detail = "the archive that was uploaded with the batch is gone: upload the failed pictures again";
                Problem::new(ProblemType::CannotRetry, detail)
            }
            error => unread(error),
        })?;
        let folder = format!("{BATCH_UPLOADS}/{}", Uuid::new_v4());
        let path = format!("{folder}/{UPLOADED_PICTURES}");
        let mut object = create(app, namespace, &path, "application/x-tar").await?;
        let (pieces, reader) = channel_reader();
        let (writer, rewritten) = channel_writer();
        let (limits, budget) = (limits(app), app.budget.clone());
        let work =
            spawn_blocking(move || archive::select_tar(reader, selection, limits, budget, writer));
        let reading = async move {
            while let Some(piece) = source.next().await {
                if pieces.send(piece.map_err(unread)?).await.is_err() {
                    break;
                }
            }
            Ok::<_, Problem>(())
        };
        let (read, stored) = tokio::join!(reading, store(rewritten, &mut object));
        let repacked = work.await.map_err(Problem::internal)?;
        read?;
        stored?;
        repacked.map_err(|error| match error {
            ArchiveError::Refused(detail) | ArchiveError::TooLarge(detail) => {
                Problem::new(ProblemType::CannotRetry, detail)
            }
            ArchiveError::NoMemory => overloaded(),
            error => Problem::internal(error),
        })?;
        object.finish().await.map_err(unstored)?;
        Ok(Self {
            input: Input::Archives { prefix: folder },
            identity: Input::Archives {
                prefix: format!("retry:{identity}"),
            },
        })
    }

    /// Stores a manifest that `write` writes.
    pub(crate) async fn manifest(
        app: &App,
        namespace: &str,
        mut lines: Receiver<Bytes>,
    ) -> Result<(Self, u64), Problem> {
        own_folder(app, namespace).await?;
        let path = format!("{BATCH_UPLOADS}/{}/manifest.jsonl", Uuid::new_v4());
        let mut object = create(app, namespace, &path, "application/octet-stream").await?;
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        while let Some(piece) = lines.recv().await {
            digest.update(&piece);
            bytes += piece.len() as u64;
            object.write(piece).await.map_err(unstored)?;
        }
        object.finish().await.map_err(unstored)?;
        let key = format!("sha256:{}", hex::encode(digest.finalize()));
        let stored = Self {
            input: Input::Manifest { key: path },
            identity: Input::Manifest { key },
        };
        Ok((stored, bytes))
    }
}

/// Deletes an upload whose batch was not created.
pub(crate) async fn discard(app: &App, namespace: &str, input: &Input) {
    if let Some(key) = crate::validate::uploaded(namespace, input)
        && let Err(error) = app.store.delete(&key).await
    {
        tracing::warn!(%key, %error, "an upload without a batch remains in the store");
    }
}

fn limits(app: &App) -> Limits {
    let limits = &app.config.limits;
    Limits {
        entries: MAX_ENTRIES,
        member_bytes: limits.max_upload_bytes,
        total_bytes: limits.max_archive_bytes as u64 * MAX_RATIO,
    }
}

/// The body of an upload: its head, which has been read already, and the rest.
struct Body<'a> {
    head: Bytes,
    /// Fused: a short body ends while its head is read.
    rest: Fuse<Pieces<'a>>,
    digest: Sha256,
}

impl Body<'_> {
    async fn read_head(&mut self) -> Result<(), Problem> {
        let mut head = BytesMut::new();
        while head.len() < HEAD_BYTES
            && let Some(piece) = self.rest.next().await
        {
            head.extend_from_slice(&piece?);
        }
        self.head = head.freeze();
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        let piece = if self.head.is_empty() {
            self.rest.next().await?
        } else {
            Ok(std::mem::take(&mut self.head))
        };
        if let Ok(piece) = &piece {
            self.digest.update(piece);
        }
        Some(piece)
    }

    /// The digest as part of an input that no job has: a `:` and no folder.
    fn digest(self) -> String {
        format!("sha256:{}", hex::encode(self.digest.finalize()))
    }
}

/// Rewrites a tar while it arrives.
async fn tar(
    app: &App,
    body: &mut Body<'_>,
    gzip: bool,
    limits: Limits,
    object: &mut ObjectWriter,
) -> Result<Summary, Problem> {
    let (pieces, reader) = channel_reader();
    let (writer, rewritten) = channel_writer();
    let budget = app.budget.clone();
    let work = spawn_blocking(move || archive::repack_tar(reader, gzip, limits, budget, writer));
    let (fed, stored) = tokio::join!(feed(body, pieces), store(rewritten, object));
    let repacked = work.await.map_err(Problem::internal)?;
    // An upload that broke makes the archive look cut short.
    fed?;
    stored?;
    let summary = repacked.map_err(refused)?;
    // What follows the archive's end, which is part of the digest.
    while let Some(piece) = body.next().await {
        piece?;
    }
    Ok(summary)
}

/// Sends a body to the thread that reads it, until that has read enough.
async fn feed(body: &mut Body<'_>, pieces: Sender<Bytes>) -> Result<(), Problem> {
    while let Some(piece) = body.next().await {
        if pieces.send(piece?).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn store(mut pieces: Receiver<Bytes>, object: &mut ObjectWriter) -> Result<(), Problem> {
    while let Some(piece) = pieces.recv().await {
        object.write(piece).await.map_err(unstored)?;
    }
    Ok(())
}

/// Receives a ZIP in a file without a name, then rewrites it.
async fn zip(
    app: &App,
    body: &mut Body<'_>,
    limits: Limits,
    object: &mut ObjectWriter,
) -> Result<Summary, Problem> {
    let no_room = |error: std::io::Error| {
        let detail = "the service has no room on its disk for the ZIP: try again later, or send a tar, which needs none";
        Problem::new(ProblemType::Overloaded, detail)
            .caused_by(error)
            .retry_after(60)
    };
    let file = spawn_blocking(tempfile::tempfile).await;
    let file = file.map_err(Problem::internal)?.map_err(no_room)?;
    let mut file = tokio::fs::File::from_std(file);
    while let Some(piece) = body.next().await {
        file.write_all(&piece?).await.map_err(no_room)?;
    }
    file.flush().await.map_err(no_room)?;
    let file = file.into_std().await;
    let (writer, rewritten) = channel_writer();
    let budget = app.budget.clone();
    let work = spawn_blocking(move || archive::repack_zip(file, limits, budget, writer));
    store(rewritten, object).await?;
    let repacked = work.await.map_err(Problem::internal)?;
    repacked.map_err(refused)
}

fn refused(error: ArchiveError) -> Problem {
    match error {
        ArchiveError::Refused(detail) => Problem::new(ProblemType::InvalidArchive, detail),
        ArchiveError::TooLarge(detail) => Problem::new(ProblemType::TooLarge, detail),
        ArchiveError::NoMemory => overloaded(),
        error => Problem::internal(error),
    }
}

/// Checks that the folder of the namespace is not that of an earlier one, as the operator does before it reads it.
async fn own_folder(app: &App, namespace: &str) -> Result<(), Problem> {
    let uid = app.namespaces.uid(namespace).await?;
    match app.store.claim_folder(namespace, &uid).await {
        Ok(FolderOwner::Us | FolderOwner::UsFromNow) => Ok(()),
        Ok(FolderOwner::Other(_)) => {
            let detail = format!(
                "the folder data/{namespace}/ belongs to an earlier namespace of this name; whoever may write to the bucket can hand it over, by data/{namespace}/.fovea-namespace"
            );
            Err(Problem::new(ProblemType::ForeignFolder, detail))
        }
        Err(error) => Err(unstored(error)),
    }
}

async fn create(
    app: &App,
    namespace: &str,
    path: &str,
    content_type: &str,
) -> Result<ObjectWriter, Problem> {
    let key = ObjectKey::data(namespace, path).map_err(Problem::internal)?;
    app.store.create(&key, content_type).await.map_err(unstored)
}

fn unstored(error: StoreError) -> Problem {
    let detail = "the upload could not be stored, and no batch was created: send the request again";
    Problem::new(ProblemType::StoreUnavailable, detail)
        .caused_by(error)
        .retry_after(2)
}
