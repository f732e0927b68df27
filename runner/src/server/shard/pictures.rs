//! Runs the pictures of a range, many at once, and collects their rows.

use super::ask::Offer;
use super::attempt::Shard;
use super::item::{self, Unfinished};
use super::rows::{Prefix, Rows};
use fovea_protocol::{Problem, Row};
use futures::stream::{self, BoxStream, StreamExt as _};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument as _;

/// Upper bound on pictures of a shard that are under way at once. Their memory has a bound of its own.
pub(super) const MAX_BEGUN: usize = 256;

/// Number of items that are asked for at once.
const WINDOW: usize = 64;

/// Windows that are asked for ahead of the pictures under way.
const WINDOWS_AHEAD: usize = 2;

/// What an attempt has done.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) rows: Prefix,
    /// Whether the shard ends with these rows.
    pub(super) end: bool,
    /// Members of an archive that are no pictures.
    pub(super) skipped: u64,
}

/// The outcome of a picture's task.
pub(super) type Finished = Result<(u64, Result<Row, Unfinished>), JoinError>;

/// Runs the pictures of the request's range, and returns the rows of those that are done without a gap.
pub(super) async fn collect(shard: &Arc<Shard>) -> Result<Collected, Problem> {
    let from = shard.request.from;
    let to = shard.request.to.unwrap_or(from);
    let mut windows = windows(Arc::clone(shard), from..to);
    let mut offers = VecDeque::<Offer>::new();
    let mut tasks = JoinSet::new();
    let mut rows = Rows::new(from);
    let (mut next, mut ended) = (from, false);
    loop {
        let may_begin = !ended && !shard.stop.is_stopped();
        while may_begin && tasks.len() < MAX_BEGUN {
            let Some(offer) = offers.pop_front() else {
                break;
            };
            let (shard, index) = (Arc::clone(shard), next);
            next += 1;
            let picture = async move { (index, item::picture(&shard, index, offer).await) };
            tasks.spawn(picture.in_current_span());
        }
        let wants_more = may_begin && offers.is_empty();
        tokio::select! {
            biased;
            Some(finished) = tasks.join_next() => {
                if let Some((index, row)) = outcome(finished)? {
                    shard.progress.end(rows.insert(index, row));
                }
                if rows.full() {
                    shard.stop.stop(None);
                }
            }
            window = windows.next(), if wants_more => match window {
                Some(window) => {
                    let window = window?;
                    // Less than was asked for is all there is.
                    ended = window.is_empty();
                    offers.extend(window);
                }
                None => ended = true,
            },
            () = shard.stop.stopped(), if may_begin => {}
            else => break,
        }
    }
    Ok(Collected {
        rows: rows.into_prefix(),
        end: false,
        skipped: 0,
    })
}

/// The items of the range, window by window, asked for as far ahead as [`WINDOWS_AHEAD`].
fn windows(
    shard: Arc<Shard>,
    range: Range<u64>,
) -> BoxStream<'static, Result<Vec<Offer>, Problem>> {
    let to = range.end;
    let windows = stream::iter(range.step_by(WINDOW)).map(move |first| {
        let shard = Arc::clone(&shard);
        let count = usize::try_from(to - first).map_or(WINDOW, |left| left.min(WINDOW));
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        async move { shard.ask.items(first, count).await }
    });
    windows.buffered(WINDOWS_AHEAD).boxed()
}

/// The row of a picture that is done; an error ends the attempt.
pub(super) fn outcome(finished: Finished) -> Result<Option<(u64, Row)>, Problem> {
    match finished {
        Ok((index, Ok(row))) => Ok(Some((index, row))),
        Ok((_, Err(Unfinished::Stopped))) => Ok(None),
        Ok((_, Err(Unfinished::Ended(problem)))) => Err(problem),
        // A bug of the runner's, which costs the attempt.
        Err(error) => {
            tracing::error!(%error, "the task of a picture ended");
            Err(crate::engine::gone())
        }
    }
}
