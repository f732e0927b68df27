//! Answers that were given before, and those to be kept.

use super::super::question;
use super::Shard;
use super::ask::Ask;
use crate::inference::Query;
use fovea_protocol::{Answer, MAX_PART_BYTES, MAX_QUESTIONS, Problem, Row, answer_line};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Bound on questions that wait to be asked: one of each picture under way.
const WAITING: usize = 256;

type Asked = (String, oneshot::Sender<Option<Answer>>);

/// The questions of one attempt.
#[derive(Debug)]
pub(super) struct Reuse {
    questions: mpsc::Sender<Asked>,
    asked: tokio::sync::Mutex<mpsc::Receiver<Asked>>,
    done: Mutex<Done>,
}

#[derive(Debug, Default)]
struct Done {
    /// Pictures with an answer that was given before.
    reused: BTreeSet<u64>,
    /// Lines of new answers, by the picture's index, so that they have the order of the pictures.
    new: BTreeMap<u64, String>,
    bytes: u64,
}

impl Reuse {
    pub(super) fn new() -> Self {
        let (questions, asked) = mpsc::channel(WAITING);
        Self {
            questions,
            asked: asked.into(),
            done: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        // No code panics while it holds this lock.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the operator all questions, those at once that have gathered meanwhile. Never ends, unless the
    /// operator does not answer.
    pub(super) async fn ask_all(&self, ask: &Ask) -> Problem {
        let mut asked = self.asked.lock().await;
        let mut gathered = Vec::new();
        loop {
            asked.recv_many(&mut gathered, MAX_QUESTIONS).await;
            let (questions, replies): (Vec<_>, Vec<_>) = gathered.drain(..).unzip();
            match ask.answers(questions).await {
                Ok(answers) => {
                    for (reply, answer) in replies.into_iter().zip(answers) {
                        // An error means that the picture has ended meanwhile.
                        let _ = reply.send(answer);
                    }
                }
                Err(problem) => return problem,
            }
        }
    }

    /// The answer that the question has had before.
    pub(super) async fn answer(&self, question: &str) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        let asked = (question.to_owned(), reply);
        self.questions.send(asked).await.ok()?;
        answer.await.ok()?
    }

    /// The row of a picture whose question has had this answer.
    pub(super) fn reused(&self, index: u64, mut row: Row, answer: Answer) -> Row {
        let Answer {
            result,
            model,
            width,
            height,
        } = answer;
        (row.result, row.model) = (Some(result), Some(model));
        (row.width, row.height) = (Some(width), Some(height));
        self.lock().reused.insert(index);
        row
    }

    /// Keeps the answer in `row`.
    pub(super) fn keep(&self, index: u64, question: Option<&str>, row: &Row) {
        let line = || {
            let answer = Answer {
                result: row.result.clone()?,
                model: row.model.clone()?,
                width: row.width?,
                height: row.height?,
            };
            answer_line(question?, &answer)
        };
        if question.is_some()
            && let Some(line) = line()
        {
            let mut done = self.lock();
            let bytes = done.bytes + line.len() as u64;
            if bytes <= MAX_PART_BYTES {
                done.bytes = bytes;
                done.new.insert(index, line);
            }
        }
    }

    /// Pictures so far with an answer that was given before.
    pub(super) fn count(&self) -> u64 {
        self.lock().reused.len() as u64
    }

    /// How many pictures before `to` have an answer that was given before, and the lines of all new answers.
    pub(super) fn finish(&self, to: u64) -> (u64, Vec<u8>) {
        let mut done = self.lock();
        let new = std::mem::take(&mut done.new);
        let lines = new.into_values().collect::<String>();
        (done.reused.range(..to).count() as u64, lines.into_bytes())
    }
}

/// The question that `query` is about a picture, if its shard reuses answers.
pub(super) fn question(shard: &Shard, query: &Query, picture: Option<&str>) -> Option<String> {
    let picture = picture.filter(|_| shard.request.reuse)?;
    question::question(&shard.model, query, picture)
}

#[cfg(test)]
mod tests {
    use super::super::item::blank;
    use super::*;
    use fovea_protocol::{InferResult, ServedModel, ShardLine};

    fn answer(caption: &str) -> Answer {
        Answer {
            result: InferResult::Caption(caption.to_owned()),
            model: ServedModel {
                name: "m".to_owned(),
                revision: "r".to_owned(),
            },
            width: 4,
            height: 3,
        }
    }

    #[tokio::test]
    async fn questions_that_gather_are_asked_at_once_and_each_gets_its_own_answer() {
        let (lines, mut sent) = mpsc::channel(8);
        let (ask, reuse) = (Ask::new(lines), Reuse::new());
        let operator = async {
            let mut asked = 0;
            while asked < 3 {
                let Some(ShardLine::Ask { questions }) = sent.recv().await else {
                    panic!("no question");
                };
                asked += questions.len();
                let known = |question: &String| (question != "b").then(|| answer(question));
                ask.answered(questions.iter().map(known).collect()).unwrap();
                assert!(ask.answered(Vec::new()).is_err());
            }
        };
        let pictures =
            async { tokio::join!(reuse.answer("a"), reuse.answer("b"), reuse.answer("c")) };
        let answers = tokio::select! {
            problem = reuse.ask_all(&ask) => panic!("{problem:?}"),
            (answers, ()) = async { tokio::join!(pictures, operator) } => answers,
        };
        assert_eq!(answers, (Some(answer("a")), None, Some(answer("c"))));
    }

    #[test]
    fn new_answers_have_the_order_of_the_pictures_and_failed_ones_are_not_kept() {
        let reuse = Reuse::new();
        let row = |caption| reuse.reused(9, blank("k", None), answer(caption));
        reuse.keep(4, Some("q4"), &row("d"));
        reuse.keep(2, Some("q2"), &row("b"));
        reuse.keep(3, None, &row("c"));
        reuse.keep(1, Some("q1"), &blank("failed", None));
        reuse.reused(5, blank("k", None), answer("e"));
        assert_eq!(reuse.count(), 2);
        let (reused, lines) = reuse.finish(9);
        let lines = String::from_utf8(lines).unwrap();
        let questions: Vec<_> = lines.lines().map(|line| &line[..3]).collect();
        assert_eq!((reused, questions), (1, vec!["q2 ", "q4 "]));
    }
}
