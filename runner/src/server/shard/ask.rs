//! What the runner asks of the operator while an attempt runs, and the answers.

use fovea_protocol::{Answer, Item, MAX_WINDOW, Part, Problem, Reason, ShardLine, Upload};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Bound on the operator's silence while the runner waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Time before a URL's end in which it is not used any more, at most.
const MARGIN: Duration = Duration::from_secs(10);

/// Questions to the operator.
#[derive(Debug)]
pub(super) struct Ask {
    lines: mpsc::Sender<ShardLine>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<(Wanted, oneshot::Sender<Vec<Offer>>)>,
    part: Option<oneshot::Sender<Uploads>>,
    answers: Option<oneshot::Sender<Vec<Option<Answer>>>>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    from: u64,
    count: u32,
}

/// An item with a signed URL.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) item: Item,
    /// From then on the URL is not used any more.
    stale_at: Instant,
}

/// Where to write a part.
#[derive(Debug)]
pub(super) struct Uploads {
    pub(super) formatted: Option<Upload>,
    pub(super) rows: Upload,
    pub(super) answers: Option<Upload>,
}

impl Offer {
    fn new(item: Item, arrived: Instant, lifetime: Duration) -> Self {
        let stale_at = arrived + usable(lifetime);
        Self { item, stale_at }
    }

    /// The URL, if it is live.
    pub(super) fn url(&self) -> Option<&str> {
        let live = Instant::now() < self.stale_at;
        self.item.url.as_deref().filter(|_| live)
    }
}

/// The part of a URL's lifetime in which a GET may begin.
fn usable(lifetime: Duration) -> Duration {
    // A week is longer than any store's URLs live, and does not overflow the clock.
    let lifetime = lifetime.min(Duration::from_hours(7 * 24));
    lifetime.saturating_sub(MARGIN.min(lifetime / 5))
}

impl Ask {
    pub(super) fn new(lines: mpsc::Sender<ShardLine>) -> Self {
        let waiting = Mutex::default();
        Self { lines, waiting }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code panics while it holds this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `count` items, at most [`MAX_WINDOW`]; there are less at the shard's end.
    pub(super) async fn items(&self, from: u64, count: u32) -> Result<Vec<Offer>, Problem> {
        let count = count.min(MAX_WINDOW);
        let (answer, answered) = oneshot::channel();
        self.lock()
            .items
            .push_back((Wanted { from, count }, answer));
        self.answer(ShardLine::Want { from, count }, answered).await
    }

    /// Asks for fresh URLs of one item.
    pub(super) async fn again(&self, index: u64) -> Result<Offer, Problem> {
        let items = self.items(index, 1).await?;
        let malformed = || malformed(&format!("there is no item {index} any more"));
        items.into_iter().next().ok_or_else(malformed)
    }

    /// Asks where to write a part.
    pub(super) async fn uploads(&self, part: Part) -> Result<Uploads, Problem> {
        let (answer, answered) = oneshot::channel();
        self.lock().part = Some(answer);
        self.answer(ShardLine::Ready(part), answered).await
    }

    /// Asks for answers that were given before. One call at a time.
    pub(super) async fn answers(
        &self,
        questions: Vec<String>,
    ) -> Result<Vec<Option<Answer>>, Problem> {
        let (answer, answered) = oneshot::channel();
        self.lock().answers = Some(answer);
        self.answer(ShardLine::Ask { questions }, answered).await
    }

    async fn answer<T>(
        &self,
        line: ShardLine,
        answered: oneshot::Receiver<T>,
    ) -> Result<T, Problem> {
        // An error means that nobody reads the lines, which is noticed elsewhere.
        let _ = self.lines.send(line).await;
        match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Problem::new(
                Reason::DeadlineExceeded,
                format!("the operator did not answer within {ANSWER_TIMEOUT:?}"),
            )),
        }
    }

    /// Hands items to whoever has asked for them.
    pub(super) fn offer(
        &self,
        first: u64,
        items: Vec<Item>,
        lifetime: Duration,
    ) -> Result<(), Problem> {
        let arrived = Instant::now();
        let mut waiting = self.lock();
        let place = (waiting.items.iter()).position(|(wanted, _)| wanted.from == first);
        let Some((wanted, answer)) = place.and_then(|place| waiting.items.remove(place)) else {
            return Err(malformed("there are items that were not asked for"));
        };
        if items.len() > wanted.count as usize {
            return Err(malformed("there are more items than were asked for"));
        }
        let offer = |item| Offer::new(item, arrived, lifetime);
        // An error means that the picture has ended meanwhile.
        let _ = answer.send(items.into_iter().map(offer).collect());
        Ok(())
    }

    /// Hands answers to whoever has asked for them.
    pub(super) fn answered(&self, answers: Vec<Option<Answer>>) -> Result<(), Problem> {
        let asked = self.lock().answers.take();
        let asked = asked.ok_or_else(|| malformed("there are answers that were not asked for"))?;
        // An error means that the attempt is over.
        let _ = asked.send(answers);
        Ok(())
    }

    /// Hands a part's URLs to whoever has asked for them.
    pub(super) fn upload(&self, uploads: Uploads) -> Result<(), Problem> {
        let asked = self.lock().part.take();
        let asked = asked.ok_or_else(|| malformed("there is a part that was not asked for"))?;
        // An error means that the attempt is over.
        let _ = asked.send(uploads);
        Ok(())
    }
}

fn malformed(why: &str) -> Problem {
    Problem::new(Reason::MalformedRequest, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &str) -> Item {
        Item {
            key: key.to_owned(),
            id: None,
            url: Some(format!("http://s/{key}")),
            bytes: None,
            parameters: None,
            error: None,
        }
    }

    #[test]
    fn a_url_is_left_10_seconds_before_its_end_or_a_fifth_of_a_short_life() {
        let seconds = Duration::from_secs;
        assert_eq!(usable(seconds(60)), seconds(50));
        assert_eq!(usable(seconds(5)), seconds(4));
        assert_eq!(usable(Duration::ZERO), Duration::ZERO);
        assert!(usable(Duration::MAX) < seconds(1_000_000));
    }

    #[tokio::test]
    async fn answers_find_who_has_asked_in_any_order() {
        let (lines, mut asked) = mpsc::channel(8);
        let ask = Ask::new(lines);
        let answers = async {
            for _ in 0..2 {
                asked.recv().await.unwrap();
            }
            let minute = Duration::from_mins(1);
            assert!(ask.offer(7, vec![], minute).is_err());
            ask.offer(64, vec![item("c")], minute).unwrap();
            ask.offer(0, vec![item("a"), item("b")], minute).unwrap();
            assert!(ask.offer(0, vec![], minute).is_err());
        };
        let (first, second, ()) = tokio::join!(ask.items(0, 64), ask.again(64), answers);
        let keys = first.unwrap().into_iter().map(|offer| offer.item.key);
        assert_eq!(keys.collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(second.unwrap().url(), Some("http://s/c"));
    }
}
