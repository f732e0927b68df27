//! The rows of a batch, part by part, line by line, from `system/<uid>/parts/`.

use bytes::{Bytes, BytesMut};
use fovea_store::{InvalidKey, ObjectKey, ObjectPieces, PartName, Store, StoreError, choose_parts};

/// Most bytes of a row: twice what a runner may say of one picture.
pub(crate) const MAX_ROW_BYTES: usize = 2 * 1024 * 1024;

/// Why rows cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] InvalidKey),
    #[error("a row is longer than {MAX_ROW_BYTES} bytes")]
    TooLong,
    #[error("a row cannot be read: {0}")]
    Row(String),
    #[error("the rows have too many different labels for COCO's format")]
    TooManyLabels,
}

/// The parts of a batch that exist, without those that others cover, in the order of the rows.
pub(crate) async fn parts(store: &Store, job_uid: &str) -> Result<Vec<PartName>, StoreError> {
    Ok(choose_parts(store.parts(job_uid).await?))
}

/// Reads parts one after the other.
pub(crate) struct Lines {
    store: Store,
    job_uid: String,
    rest: std::vec::IntoIter<PartName>,
    reader: Option<ObjectPieces>,
    /// The begin of a line whose end has not been read.
    carried: BytesMut,
    /// The part read last has not ended with a line feed.
    open: bool,
}

impl Lines {
    /// Opens the first part.
    pub(crate) async fn open(
        store: &Store,
        job_uid: &str,
        parts: Vec<PartName>,
    ) -> Result<Self, RowsError> {
        let mut lines = Self {
            store: store.clone(),
            job_uid: job_uid.to_owned(),
            rest: parts.into_iter(),
            reader: None,
            carried: BytesMut::new(),
            open: false,
        };
        lines.next_part().await?;
        Ok(lines)
    }

    /// Opens the next part; whether there is one.
    async fn next_part(&mut self) -> Result<bool, RowsError> {
        self.reader = match self.rest.next() {
            None => None,
            Some(part) => {
                let key = ObjectKey::part(&self.job_uid, part)?;
                Some(self.store.open_in_pieces(&key).await?)
            }
        };
        Ok(self.reader.is_some())
    }

    /// The next piece of all parts, as it is.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, RowsError> {
        while let Some(reader) = &mut self.reader {
            match reader.next().await.transpose()? {
                Some(piece) if piece.is_empty() => {}
                Some(piece) => {
                    self.open = !piece.ends_with(b"\n");
                    return Ok(Some(piece));
                }
                None => {
                    self.next_part().await?;
                    if std::mem::take(&mut self.open) {
                        return Ok(Some(Bytes::from_static(b"\n")));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The next whole lines, with their line feeds; `None` at the end.
    pub(crate) async fn lines(&mut self) -> Result<Option<Bytes>, RowsError> {
        while let Some(piece) = self.piece().await? {
            let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') else {
                self.carry(&piece)?;
                continue;
            };
            let mut whole = std::mem::take(&mut self.carried);
            whole.extend_from_slice(&piece[..=end]);
            self.carry(&piece[end + 1..])?;
            return Ok(Some(whole.freeze()));
        }
        Ok(None)
    }

    fn carry(&mut self, bytes: &[u8]) -> Result<(), RowsError> {
        if self.carried.len() + bytes.len() > MAX_ROW_BYTES {
            return Err(RowsError::TooLong);
        }
        self.carried.extend_from_slice(bytes);
        Ok(())
    }
}

/// The lines of a text of whole lines, without the empty ones.
pub(crate) fn split(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}
