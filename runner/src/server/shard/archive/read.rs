//! Reads an archive's members, and makes pictures, samples and skipped members of them.

use super::super::super::fetch::FetchError;
use super::super::super::memory::Reservation;
use super::super::Shard;
use super::super::item::{Unfinished, blank, query, reserve};
use super::super::rows::row_error;
use super::object::{Lost, Object};
use super::sample::{self, MAX_PICTURES, Meta, Named, Role};
use super::tar::{Broken, Member, Members};
use crate::inference::Query;
use bytes::Bytes;
use fovea_protocol::{Problem, Row, RowError};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bound on a member's name, in bytes: it is the id of its row.
const MAX_NAME_BYTES: usize = 4096;

/// What the archive consists of, in its order.
pub(super) enum Event {
    /// A picture of the range.
    Picture(Box<Picture>),
    /// The row of a picture that fails unread, or of the archive.
    Row(u64, Box<Row>),
    /// The pictures before `to` have all that belongs to them.
    Sample {
        to: u64,
        meta: BTreeMap<String, Value>,
    },
    /// A member that is no picture and belongs to none, before the picture `at`.
    Skipped { at: u64 },
    /// The archive's end.
    End,
}

/// A picture in memory.
pub(super) struct Picture {
    pub(super) index: u64,
    pub(super) row: Row,
    pub(super) bytes: Bytes,
    pub(super) memory: Reservation,
    pub(super) query: Query,
}

/// Why no further member is read.
enum Ended {
    /// The archive's end.
    Archive,
    /// The end of the request's range.
    Range,
    /// The archive fails.
    Failed(RowError),
}

/// The members of one sample so far.
struct Sample {
    name: String,
    /// Index of its first picture.
    first: u64,
    meta: Meta,
    /// Members beside its pictures.
    beside: u64,
}

struct Reader<'a> {
    shard: &'a Shard,
    events: mpsc::Sender<Event>,
    /// The archive's key.
    key: String,
    /// Index of the next picture.
    index: u64,
    sample: Option<Sample>,
}

/// Reads the archive up to the end of the request's range, or until the attempt is stopped.
pub(super) async fn read(shard: &Arc<Shard>, events: mpsc::Sender<Event>) -> Result<(), Problem> {
    let read = tokio::select! {
        biased;
        read = read_range(shard, events) => read,
        () = shard.stop.stopped() => Ok(()),
    };
    match read {
        Err(Unfinished::Ended(problem)) => Err(problem),
        Ok(()) | Err(Unfinished::Stopped) => Ok(()),
    }
}

async fn read_range(shard: &Arc<Shard>, events: mpsc::Sender<Event>) -> Result<(), Unfinished> {
    let offer = shard.ask.again(0).await?;
    let mut reader = Reader {
        shard,
        events,
        key: offer.item.key.clone(),
        index: 0,
        sample: None,
    };
    if let Some(error) = offer.item.error.clone() {
        reader.has_failed(error).await;
        return Ok(());
    }
    let ended = match query(shard, &offer.item) {
        Err(problem) => Ended::Failed(row_error(&problem)),
        Ok(query) => {
            let mut members = Members::new(Object::new(Arc::clone(shard), offer));
            reader.members(&mut members, &query).await?
        }
    };
    reader.end(ended).await;
    Ok(())
}

impl Reader<'_> {
    /// Reads the members of the request's range.
    async fn members(
        &mut self,
        members: &mut Members<Object>,
        query: &Query,
    ) -> Result<Ended, Unfinished> {
        loop {
            let read = match members.next().await {
                Ok(None) => return Ok(Ended::Archive),
                Ok(Some(member)) => self.member(members, member, query).await,
                Err(broken) => Err(broken),
            };
            match read {
                Ok(true) => {}
                Ok(false) => return Ok(Ended::Range),
                Err(Broken::Source(Lost::Unfinished(unfinished))) => return Err(unfinished),
                Err(Broken::Source(Lost::Failed(error))) => return Ok(Ended::Failed(error)),
                Err(Broken::Cut) => {
                    let message = "the archive ends before its end; write it again";
                    return Ok(failed("ArchiveTruncated", message));
                }
                Err(Broken::Invalid(why)) => {
                    let message = format!("this is no tar archive, or is damaged: {why}");
                    return Ok(failed("InvalidArchive", &message));
                }
            }
        }
    }

    /// Handles a member; returns whether the range goes on.
    async fn member(
        &mut self,
        members: &mut Members<Object>,
        member: Member,
        query: &Query,
    ) -> Result<bool, Broken<Lost>> {
        let Member {
            name,
            is_file: true,
            bytes,
        } = member
        else {
            self.skipped(1).await;
            return Ok(true);
        };
        let Some(Named {
            sample: stem,
            extension,
            role,
        }) = sample::parse(&name)
        else {
            self.skipped(1).await;
            return Ok(true);
        };
        let shown = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
        let has_room = |sample: &Sample| self.index - sample.first < MAX_PICTURES;
        let goes_on =
            |sample: &Sample| sample.name == stem && (role != Role::Picture || has_room(sample));
        if !self.sample.as_ref().is_some_and(goes_on) {
            self.end_sample().await;
            if self.shard.request.to.is_some_and(|to| self.index >= to) {
                return Ok(false);
            }
        }
        let is_long = shown.len() < name.len();
        if role == Role::Other || is_long && role != Role::Picture {
            self.skipped(1).await;
            return Ok(true);
        }
        let first = self.index;
        let sample = self.sample.get_or_insert_with(|| Sample {
            name: stem.to_owned(),
            first,
            meta: Meta::default(),
            beside: 0,
        });
        if role == Role::Picture {
            // People know the picture by its name in the archive.
            let mut row = blank(&format!("{}/{shown}", self.key), Some(shown));
            if is_long {
                row.error = Some(too_long(name.len()));
            }
            self.picture(members, row, bytes, query).await?;
            // One whose end is missing has no row.
            self.index += 1;
        } else {
            sample.beside += 1;
            if sample.meta.takes(&extension, bytes) {
                let content = members.content().await?;
                sample.meta.add(extension, role, &content);
            }
        }
        Ok(true)
    }

    /// Reads a picture of the range; leaves out any other.
    async fn picture(
        &mut self,
        members: &mut Members<Object>,
        mut row: Row,
        bytes: u64,
        query: &Query,
    ) -> Result<(), Broken<Lost>> {
        let (index, to) = (self.index, self.shard.request.to);
        if index < self.shard.request.from || to.is_some_and(|to| index >= to) {
            return Ok(());
        }
        self.shard.progress.begin(index);
        let max_bytes = self.shard.app.fetcher.max_bytes;
        if bytes > max_bytes && row.error.is_none() {
            let problem = Problem::from(FetchError::TooLarge(max_bytes));
            row.error = Some(row_error(&problem));
        }
        if row.error.is_some() {
            self.send(Event::Row(index, Box::new(row))).await;
            return Ok(());
        }
        let memory = reserve(self.shard, bytes).await;
        let memory = memory.map_err(|unfinished| Broken::Source(Lost::Unfinished(unfinished)))?;
        let picture = Picture {
            index,
            row,
            bytes: members.content().await?,
            memory,
            query: query.clone(),
        };
        self.send(Event::Picture(Box::new(picture))).await;
        Ok(())
    }

    /// Ends the sample, if there is one.
    async fn end_sample(&mut self) {
        let Some(sample) = self.sample.take() else {
            return;
        };
        if sample.first == self.index {
            self.skipped(sample.beside).await;
            return;
        }
        let (to, meta) = (self.index, sample.meta.values);
        self.send(Event::Sample { to, meta }).await;
    }

    /// Writes what the operator knows: that the range's one picture has failed, or the whole archive if the
    /// range has no end.
    async fn has_failed(&mut self, error: RowError) {
        let index = self.shard.request.from;
        let row = Row {
            error: Some(error),
            ..blank(&self.key, None)
        };
        self.send(Event::Row(index, Box::new(row))).await;
        let (to, meta) = (index + 1, BTreeMap::new());
        self.send(Event::Sample { to, meta }).await;
        if self.shard.request.to.is_none() {
            self.send(Event::End).await;
        }
    }

    /// Ends the archive, or the range.
    async fn end(&mut self, ended: Ended) {
        self.end_sample().await;
        if matches!(ended, Ended::Range) {
            return;
        }
        if let Ended::Failed(error) = ended {
            let index = self.index;
            if self.shard.request.to.is_some_and(|to| index >= to) {
                // Another range's.
                return;
            }
            if index >= self.shard.request.from {
                let mut row = blank(&self.key, None);
                row.error = Some(error);
                self.send(Event::Row(index, Box::new(row))).await;
                let (to, meta) = (index + 1, BTreeMap::new());
                self.send(Event::Sample { to, meta }).await;
            }
        }
        self.send(Event::End).await;
    }

    async fn skipped(&mut self, count: u64) {
        for _ in 0..count {
            let at = self.index;
            self.send(Event::Skipped { at }).await;
        }
    }

    async fn send(&self, event: Event) {
        // An error means that the attempt is over.
        let _ = self.events.send(event).await;
    }
}

fn too_long(bytes: usize) -> RowError {
    RowError {
        reason: "InvalidKey".to_owned(),
        message: format!(
            "the member's name has {bytes} bytes, of which this is the beginning; at most {MAX_NAME_BYTES} are read: rename it"
        ),
    }
}

fn failed(reason: &str, message: &str) -> Ended {
    Ended::Failed(RowError {
        reason: reason.to_owned(),
        message: message.to_owned(),
    })
}
