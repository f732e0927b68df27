//! Greedy decoding: at each step the token with the highest score.

use super::Blip;
use super::generate::{Batch, Begun, Next};
use crate::inference::CaptionQuery;
use tch::{TchError, Tensor};

struct Row {
    tokens: Vec<i64>,
    max_length: usize,
    done: bool,
}

impl Blip {
    /// Generates a batch to its end. Every [`Blip::sync_every`] steps the host reads the tokens and
    /// polls `dropped`.
    pub(super) fn greedy(
        &self,
        begun: Begun,
        queries: &[&CaptionQuery],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Vec<i64>>, TchError> {
        let Begun {
            mut cache,
            mut input_ids,
        } = begun;
        let end = self.config.text_config.sep_token_id;
        let mut rows: Vec<Row> = (queries.iter())
            .map(|query| Row {
                tokens: query.input_ids.clone(),
                max_length: query.max_length,
                done: false,
            })
            .collect();
        let mut batch = Batch::new(rows.len());
        loop {
            for &query in &batch.queries {
                rows[query].done |= dropped(query);
            }
            match batch.next(|query| rows[query].done) {
                Next::Ended => break,
                Next::Same => {}
                Next::Keep(places) => {
                    let places = self.places(&places)?;
                    cache.select_pictures(&places)?;
                    cache.select_rows(&places)?;
                    input_ids = input_ids.f_index_select(0, &places)?;
                }
            }
            let remaining = (batch.queries.iter().map(|&query| &rows[query]))
                .filter(|row| !row.done)
                .map(|row| row.max_length.saturating_sub(row.tokens.len()))
                .max();
            let mut written = Vec::new();
            for _ in 0..remaining.unwrap_or(1).clamp(1, self.sync_every) {
                let logits = self.decoder.forward(&input_ids, &mut cache)?;
                input_ids = logits.f_argmax(-1, true)?;
                written.push(input_ids.shallow_clone());
            }
            // This waits for the device.
            let written = Vec::<Vec<i64>>::try_from(&Tensor::f_cat(&written, 1)?)?;
            for (&query, tokens) in batch.queries.iter().zip(written) {
                rows[query].extend(&tokens, end);
            }
        }
        Ok(rows.into_iter().map(|row| row.tokens).collect())
    }
}

impl Row {
    /// Appends the generated tokens up to and including the caption's end.
    fn extend(&mut self, tokens: &[i64], end: i64) {
        for &token in tokens {
            if self.done {
                return;
            }
            self.tokens.push(token);
            self.done = token == end || self.tokens.len() >= self.max_length;
        }
    }
}
