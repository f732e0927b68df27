//! Generates a batch of captions, greedily or with beams, as transformers 5.23's
//! `BlipForConditionalGeneration.generate` does.

use super::{Blip, KeyValueCache};
use crate::inference::CaptionQuery;
use tch::{TchError, Tensor};

impl Blip {
    /// Generates one caption per query for `pixel_values` `[batch, 3, height, width]`: BOS, prompt
    /// and generated tokens, with the end token if it was generated. All queries
    /// must have prompts of one length and the same number of beams. A row that is `dropped` stops
    /// early and returns its tokens so far; `dropped` is polled after every step (on a GPU after
    /// [`Blip::sync_every`] steps).
    pub fn generate(
        &self,
        pixel_values: &Tensor,
        queries: &[&CaptionQuery],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Vec<i64>>, TchError> {
        let _no_grad = tch::no_grad_guard();
        if (0..queries.len()).all(dropped) {
            let prompts = queries.iter().map(|query| query.input_ids.clone());
            return Ok(prompts.collect());
        }
        let pixel_values = pixel_values.f_to_kind(self.placement.kind)?;
        let image_embeds = self.vision.forward(&pixel_values)?;
        let capacity = queries
            .iter()
            .map(|query| query.max_length)
            .max()
            .unwrap_or(0);
        let capacity = i64::try_from(capacity).unwrap_or(i64::MAX);
        let begun = Begun {
            cache: self.decoder.begin(&image_embeds, capacity)?,
            input_ids: self.token_rows(queries.iter().map(|query| &*query.input_ids))?,
        };
        if queries.iter().all(|query| query.num_beams <= 1) {
            self.greedy(begun, queries, dropped)
        } else {
            self.beam_search(begun, queries, dropped)
        }
    }

    /// Rows of tokens, all of one length, as `[rows, length]` on the device.
    pub(super) fn token_rows<'a>(
        &self,
        rows: impl Iterator<Item = &'a [i64]>,
    ) -> Result<Tensor, TchError> {
        let rows = rows
            .map(Tensor::f_from_slice)
            .collect::<Result<Vec<_>, _>>()?;
        Tensor::f_stack(&rows, 0)?.f_to_device(self.placement.device)
    }

    /// Places in a batch, on the device.
    pub(super) fn places(&self, places: &[usize]) -> Result<Tensor, TchError> {
        let places: Vec<i64> = (places.iter())
            .filter_map(|&place| i64::try_from(place).ok())
            .collect();
        Tensor::f_from_slice(&places)?.f_to_device(self.placement.device)
    }
}

/// A batch before its first decoding step.
pub(super) struct Begun {
    /// With the pictures' keys and values.
    pub(super) cache: KeyValueCache,
    /// `[batch, length]`: BOS and prompt.
    pub(super) input_ids: Tensor,
}

/// The queries that are still in the batch on the device. A finished one stays for a while and its
/// tokens are ignored: removing it costs a copy of the cache.
#[derive(Debug)]
pub(super) struct Batch {
    /// Maps a place in the batch to the index of its query.
    pub(super) queries: Vec<usize>,
}

/// The next change of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Ended,
    /// Keep the batch as it is.
    Same,
    /// Keep only these places of the batch.
    Keep(Vec<usize>),
}

impl Batch {
    pub(super) fn new(queries: usize) -> Self {
        Self {
            queries: (0..queries).collect(),
        }
    }

    /// Removes finished queries once they are half of the batch.
    pub(super) fn next(&mut self, done: impl Fn(usize) -> bool) -> Next {
        let kept: Vec<usize> = (0..self.queries.len())
            .filter(|&place| !done(self.queries[place]))
            .collect();
        if kept.is_empty() {
            return Next::Ended;
        }
        if kept.len() * 2 > self.queries.len() {
            return Next::Same;
        }
        self.queries = kept.iter().map(|&place| self.queries[place]).collect();
        Next::Keep(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_queries_leave_the_batch_once_they_are_half_of_it() {
        let mut batch = Batch::new(4);
        assert_eq!(batch.next(|query| query == 2), Next::Same);
        assert_eq!(batch.next(|query| query % 2 == 0), Next::Keep(vec![1, 3]));
        assert_eq!(batch.queries, [1, 3]);
        assert_eq!(batch.next(|query| query == 1), Next::Keep(vec![1]));
        assert_eq!((batch.next(|_| false), batch.queries[0]), (Next::Same, 3));
        assert_eq!(batch.next(|_| true), Next::Ended);
    }
}
