//! The failed pictures of a batch, from the rows of its parts.

use super::render::is_failed;
use super::row::Row;
use super::rows::{Lines, RowsError, parts};
use crate::download::unread;
use crate::error::Problem;
use crate::state::App;
use bytes::Bytes;
use fovea_crds::InferenceJob;
use fovea_store::{PartName, Store};
use kube::ResourceExt as _;

/// A picture that failed.
pub(crate) struct Failure {
    pub(crate) row: Row,
    pub(crate) part: PartName,
    /// Index of the picture in the shard.
    pub(crate) index: u64,
}

/// Reads the rows of all parts.
pub(crate) struct Failures {
    pub(crate) uid: String,
    store: Store,
    rest: std::vec::IntoIter<PartName>,
    current: Option<Current>,
}

/// The part that is being read.
struct Current {
    part: PartName,
    lines: Lines,
    /// Rows that are not looked at yet.
    whole: Bytes,
    /// Index of the next row's picture in the shard.
    index: u64,
}

impl Failures {
    pub(crate) async fn of(app: &App, job: &InferenceJob) -> Result<Self, Problem> {
        let uid = job.uid().unwrap_or_default();
        let parts = parts(&app.store, &uid).await.map_err(unread)?;
        Ok(Self {
            uid,
            store: app.store.clone(),
            rest: parts.into_iter(),
            current: None,
        })
    }

    /// The next one, in the order of the rows.
    pub(crate) async fn next(&mut self) -> Result<Option<Failure>, RowsError> {
        loop {
            if let Some(current) = &mut self.current
                && let Some(failure) = current.next().await?
            {
                return Ok(Some(failure));
            }
            let Some(part) = self.rest.next() else {
                return Ok(None);
            };
            self.current = Some(Current {
                part,
                lines: Lines::open(&self.store, &self.uid, vec![part]).await?,
                whole: Bytes::new(),
                index: part.from,
            });
        }
    }
}

impl Current {
    async fn next(&mut self) -> Result<Option<Failure>, RowsError> {
        loop {
            let Some(end) = self.whole.iter().position(|byte| *byte == b'\n') else {
                match self.lines.lines().await? {
                    Some(whole) => self.whole = whole,
                    None => return Ok(None),
                }
                continue;
            };
            let line = self.whole.split_to(end + 1);
            let line = line.trim_ascii_end();
            if line.is_empty() {
                continue;
            }
            let index = self.index;
            self.index += 1;
            if is_failed(line)? {
                let row = serde_json::from_slice(line);
                let row = row.map_err(|error| RowsError::Row(error.to_string()))?;
                let part = self.part;
                return Ok(Some(Failure { row, part, index }));
            }
        }
    }
}
