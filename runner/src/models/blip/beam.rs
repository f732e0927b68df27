//! Beam search, as transformers 5.23 does it (`GenerationMixin._beam_search`) with the parameters
//! that it has for BLIP: a length penalty of 1, no early stopping (see `DEFAULT_NEW_TOKENS` on
//! where they come from).

use super::Blip;
use super::generate::{Batch, Begun, Next};
use crate::inference::CaptionQuery;
use tch::{Kind, TchError, Tensor};

/// A hypothesis' score is its log-probability over its count of new tokens to this power.
const LENGTH_PENALTY: f32 = 1.0;

/// What transformers adds to the score of what must not be chosen. Not minus infinity: sums of it
/// are compared.
const EXCLUDED: f32 = -1e9;

/// Per beam: a beam that ends has another continuation to go on with.
const CANDIDATES: usize = 2;

/// A continuation that the model proposes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    /// Which of the running beams it continues.
    beam: usize,
    token: i64,
    /// Log-probability of the whole sequence.
    score: f32,
}

/// A sequence with its score.
#[derive(Clone, Debug, PartialEq)]
struct Hypothesis {
    tokens: Vec<i64>,
    score: f32,
    /// Of those kept: whether it came to its end.
    ended: bool,
}

/// The search for one picture's caption, without the model.
#[derive(Debug)]
struct BeamSearch {
    prompt_length: usize,
    max_length: usize,
    end: i64,
    /// Those to be continued, the best first; their score is the log-probability.
    running: Vec<Hypothesis>,
    /// The best that have ended, the best first, with their scores by length; filled up with what
    /// has not ended.
    kept: Vec<Hypothesis>,
    done: bool,
}

impl BeamSearch {
    fn new(query: &CaptionQuery, end: i64) -> Self {
        let beam = |score| Hypothesis {
            tokens: query.input_ids.clone(),
            score,
            ended: false,
        };
        // All beams begin alike: the first step continues only one of them.
        let running = (0..query.num_beams)
            .map(|place| beam(if place == 0 { 0.0 } else { EXCLUDED }))
            .collect();
        Self {
            prompt_length: query.input_ids.len(),
            max_length: query.max_length,
            end,
            running,
            kept: vec![beam(EXCLUDED); query.num_beams],
            done: false,
        }
    }

    /// Takes a step with the best continuations of all beams, [`CANDIDATES`] for each, the best
    /// first. Gives which beam each running one has come from.
    #[expect(clippy::cast_precision_loss, reason = "lengths of captions")]
    fn advance(&mut self, candidates: &[Candidate]) -> Vec<usize> {
        let beams = self.running.len();
        let length = self.running.first().map_or(0, |beam| beam.tokens.len()) + 1;
        let ends = |candidate: &Candidate| candidate.token == self.end || length >= self.max_length;
        let continued = |candidate: &Candidate, score: f32, ended| {
            let mut tokens = self.running[candidate.beam].tokens.clone();
            tokens.push(candidate.token);
            Hypothesis {
                tokens,
                score,
                ended,
            }
        };

        let over = (length - self.prompt_length) as f32;
        let over = over.powf(LENGTH_PENALTY);
        // One that ends is kept only where it is among the best so many; the other candidates are
        // there to go on with.
        let ended = candidates.iter().enumerate().map(|(place, candidate)| {
            let ended = ends(candidate) && place < beams;
            let excluded = if ended { 0.0 } else { EXCLUDED };
            continued(candidate, candidate.score / over + excluded, ended)
        });
        let kept = best(self.kept.iter().cloned().chain(ended), beams, |beam| {
            beam.score
        });

        let scores = candidates.iter().map(|candidate| {
            let excluded = if ends(candidate) { EXCLUDED } else { 0.0 };
            (candidate, candidate.score + excluded)
        });
        let chosen = best(scores, beams, |&(_, score)| score);
        let running: Vec<Hypothesis> = (chosen.iter())
            .map(|&(candidate, score)| continued(candidate, score, false))
            .collect();

        // Whether a running beam, at its present length, would be among those kept.
        let best_running = running.first().map_or(EXCLUDED, |beam| beam.score) / over;
        let worst_kept = (kept.iter().map(|beam| beam.score)).fold(f32::INFINITY, f32::min);
        let improvable =
            (kept.iter()).any(|beam| best_running > if beam.ended { worst_kept } else { EXCLUDED });
        self.done = !improvable || length >= self.max_length;
        let origins = chosen.iter().map(|(candidate, _)| candidate.beam).collect();
        (self.running, self.kept) = (running, kept);
        origins
    }

    /// The best that has ended; where it was not searched to the end, the best so far.
    fn into_best(self) -> Vec<i64> {
        let ended = self.kept.into_iter().find(|beam| beam.ended);
        (ended.or_else(|| self.running.into_iter().next()))
            .map_or_else(Vec::new, |beam| beam.tokens)
    }
}

/// The `count` of highest score, the highest first, and what came first where they are equal.
/// (`torch.topk` leaves open which of equal ones it takes.)
fn best<T>(of: impl Iterator<Item = T>, count: usize, score: impl Fn(&T) -> f32) -> Vec<T> {
    let mut all: Vec<T> = of.collect();
    all.sort_by(|a, b| score(b).total_cmp(&score(a)));
    all.truncate(count);
    all
}

impl Blip {
    /// Generates a batch to its end, polling `dropped` at each step. The prompt is computed
    /// once for all beams of a picture, and so are the picture's keys and values.
    pub(super) fn beam_search(
        &self,
        begun: Begun,
        queries: &[&CaptionQuery],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Vec<i64>>, TchError> {
        let Begun {
            mut cache,
            input_ids,
        } = begun;
        let end = self.config.text_config.sep_token_id;
        let beams = queries.first().map_or(1, |query| query.num_beams);
        let mut searches: Vec<BeamSearch> = queries
            .iter()
            .map(|query| BeamSearch::new(query, end))
            .collect();
        let mut batch = Batch::new(searches.len());
        let mut logits = self.decoder.forward(&input_ids, &mut cache)?;
        let mut rows_per_picture = 1;
        loop {
            let running = batch.queries.iter().map(|&query| &searches[query].running);
            let proposed = self.candidates(&logits, running)?;
            // Which row each beam goes on from; that of a search that is done is any.
            let mut origins = Vec::with_capacity(batch.queries.len());
            for (&query, candidates) in batch.queries.iter().zip(&proposed) {
                let search = &mut searches[query];
                origins.push(if search.done {
                    vec![0; beams]
                } else {
                    search.advance(candidates)
                });
                search.done |= dropped(query);
            }
            let kept: Vec<usize> = match batch.next(|query| searches[query].done) {
                Next::Ended => break,
                Next::Same => (0..origins.len()).collect(),
                Next::Keep(places) => {
                    cache.select_pictures(&self.places(&places)?)?;
                    places
                }
            };
            let rows = rows(&kept, &origins, rows_per_picture);
            cache.select_rows(&self.places(&rows)?)?;
            rows_per_picture = beams;
            let running = batch
                .queries
                .iter()
                .flat_map(|&query| &searches[query].running);
            let last = running.map(|beam| &beam.tokens[beam.tokens.len() - 1..]);
            logits = self.decoder.forward(&self.token_rows(last)?, &mut cache)?;
        }
        Ok(searches.into_iter().map(BeamSearch::into_best).collect())
    }

    /// The best continuations of each picture's beams, the best first. `logits`
    /// `[pictures * rows, vocab_size]`, with a row for each beam, or one for all that are alike.
    fn candidates<'a>(
        &self,
        logits: &Tensor,
        running: impl Iterator<Item = &'a Vec<Hypothesis>>,
    ) -> Result<Vec<Vec<Candidate>>, TchError> {
        let scores = running.map(|beams| beams.iter().map(|beam| beam.score).collect::<Vec<_>>());
        let scores =
            (scores.map(|scores| Tensor::f_from_slice(&scores))).collect::<Result<Vec<_>, _>>()?;
        let scores = Tensor::f_stack(&scores, 0)?.f_to_device(self.placement.device)?;
        let (pictures, beams) = scores.size2()?;
        let (_, vocabulary) = logits.size2()?;
        let log_probs = logits.f_log_softmax(-1, Kind::Float)?;
        let (values, indices) = (log_probs.f_reshape([pictures, -1, vocabulary])?)
            .f_add(&scores.f_unsqueeze(-1)?)?
            .f_flatten(1, 2)?
            .f_topk(
                beams * i64::try_from(CANDIDATES).unwrap_or(1),
                1,
                true,
                true,
            )?;
        // These wait for the device.
        let values = Vec::<Vec<f32>>::try_from(&values)?;
        let indices = Vec::<Vec<i64>>::try_from(&indices)?;
        let candidate = |(score, index): (f32, i64)| Candidate {
            beam: usize::try_from(index / vocabulary).unwrap_or(0),
            token: index % vocabulary,
            score,
        };
        Ok((values.into_iter().zip(indices))
            .map(|(values, indices)| values.into_iter().zip(indices).map(candidate).collect())
            .collect())
    }
}

/// The rows that the pictures at the places `kept` go on from, where each picture has so many.
fn rows(kept: &[usize], origins: &[Vec<usize>], rows_per_picture: usize) -> Vec<usize> {
    (kept.iter())
        .flat_map(|&place| {
            // A row that stands for all beams is everybody's origin.
            (origins[place].iter())
                .map(move |origin| place * rows_per_picture + origin.min(&(rows_per_picture - 1)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: i64 = 9;

    /// Two beams after BOS 1, up to so many tokens.
    fn search(max_length: usize) -> BeamSearch {
        let query = CaptionQuery {
            input_ids: vec![1],
            max_length,
            num_beams: 2,
        };
        BeamSearch::new(&query, END)
    }

    fn candidates<const N: usize>(of: [(usize, i64, f32); N]) -> Vec<Candidate> {
        (of.into_iter())
            .map(|(beam, token, score)| Candidate { beam, token, score })
            .collect()
    }

    fn running(search: &BeamSearch) -> Vec<(&[i64], f32)> {
        (search.running.iter())
            .map(|beam| (&*beam.tokens, beam.score))
            .collect()
    }

    #[test]
    fn the_best_continuations_run_on_from_wherever_they_come() {
        let mut search = search(8);
        let first = candidates([(0, 5, -1.0), (0, 6, -1.5), (0, 7, -2.0), (0, 8, -3.0)]);
        assert_eq!(search.advance(&first), [0, 0]);
        assert_eq!(running(&search), [(&[1, 5][..], -1.0), (&[1, 6], -1.5)]);
        let second = candidates([(1, 5, -1.6), (1, 7, -1.7), (0, 7, -1.8), (0, 8, -3.0)]);
        assert_eq!(search.advance(&second), [1, 1]);
        assert_eq!(running(&search)[0], (&[1, 6, 5][..], -1.6));
        assert!(!search.done);
    }

    #[test]
    fn one_that_ends_is_kept_with_its_score_by_length_and_the_others_run_on() {
        let mut search = search(8);
        search.advance(&candidates([
            (0, 5, -1.0),
            (0, 6, -1.5),
            (0, 7, -2.0),
            (0, 8, -3.0),
        ]));
        let second = candidates([(0, END, -1.2), (1, 6, -1.7), (0, 7, -1.8), (1, END, -1.9)]);
        assert_eq!(search.advance(&second), [1, 0]);
        assert_eq!(
            (&*search.kept[0].tokens, search.kept[0].score),
            (&[1, 5, END][..], -0.6)
        );
        // The second end was not among the best two candidates.
        assert!(!search.kept[1].ended && !search.done);
        assert_eq!(search.into_best(), [1, 5, END]);
    }

    #[test]
    fn the_search_ends_when_no_beam_can_better_the_worst_that_is_kept() {
        let mut search = search(8);
        search.advance(&candidates([
            (0, END, -1.0),
            (0, 6, -1.1),
            (0, 7, -2.0),
            (0, 8, -3.0),
        ]));
        assert!(!search.done, "there is room for a second");
        search.advance(&candidates([
            (0, END, -1.2),
            (0, 5, -1.1),
            (0, 7, -1.3),
            (0, 8, -3.0),
        ]));
        // -1.1 over 2 betters the worst kept, -1.
        assert!(!search.done && search.kept.iter().all(|beam| beam.ended));
        search.advance(&candidates([
            (0, 5, -3.0),
            (0, 6, -3.1),
            (1, 7, -3.2),
            (1, 8, -3.3),
        ]));
        assert!(search.done);
        assert_eq!(search.into_best(), [1, 6, END]);
    }

    #[test]
    fn at_the_bound_the_best_is_taken_as_it_stands() {
        let mut search = search(3);
        search.advance(&candidates([
            (0, END, -4.0),
            (0, 6, -4.1),
            (0, 7, -4.2),
            (0, 8, -9.0),
        ]));
        search.advance(&candidates([
            (0, 5, -4.3),
            (1, 5, -4.4),
            (0, 6, -5.0),
            (1, 6, -6.0),
        ]));
        assert!(search.done);
        // -4.3 over 2 new tokens is better than -4 over 1.
        assert_eq!(search.into_best(), [1, 6, 5]);
    }

    #[test]
    fn of_equals_the_first_is_taken() {
        let mut search = search(8);
        search.advance(&candidates([
            (0, 5, -1.0),
            (0, 6, -1.0),
            (0, 7, -1.0),
            (0, 8, -1.0),
        ]));
        assert_eq!(running(&search), [(&[1, 5][..], -1.0), (&[1, 6], -1.0)]);
    }

    #[test]
    fn a_row_that_stands_for_all_beams_is_where_all_go_on_from() {
        let origins = [vec![0, 1], vec![1, 1], vec![1, 0]];
        assert_eq!(rows(&[0, 2], &origins, 1), [0, 0, 2, 2]);
        assert_eq!(rows(&[0, 2], &origins, 2), [0, 1, 5, 4]);
    }
}
