//! Tries a module with one picture and with two, before it is served.

use super::TorchScript;
use super::manifest::Dtype;
use crate::image::PixelValues;
use crate::inference::{Answer, Item, Model, ModelFault, Query};

/// Bound on the difference between an answer in a batch and alone, relative to its size plus 1.
const TOLERANCE: f32 = 1e-3;
/// The bound for modules that compute in 16 bits.
const HALF_TOLERANCE: f32 = 5e-2;

impl TorchScript {
    /// Fails if the module cannot answer for a picture of one of these heights and widths, or if its
    /// answers for two of the first size differ from those for each alone.
    pub(super) fn try_out(&self, sizes: &[(u32, u32)], query: &Query) -> Result<(), ModelFault> {
        for (trial, &size) in sizes.iter().enumerate() {
            if trial == 0 {
                self.try_size(size, query)?;
            } else {
                let (pixels, query) = (slope(size), query.clone());
                self.run(&[Item { pixels, query }], &|_| false)?;
            }
        }
        Ok(())
    }

    fn try_size(&self, size: (u32, u32), query: &Query) -> Result<(), ModelFault> {
        let item = |pixels| Item {
            pixels,
            query: query.clone(),
        };
        let (blank, slope) = (item(PixelValues::blank(size)), item(slope(size)));
        let run = |items: &[Item]| self.run(items, &|_| false);
        let mut alone = run(std::slice::from_ref(&blank))?;
        alone.extend(run(std::slice::from_ref(&slope))?);
        let together = run(&[blank, slope])?;
        let tolerance = match self.input.dtype {
            Dtype::Float32 => TOLERANCE,
            Dtype::Bfloat16 | Dtype::Float16 => HALF_TOLERANCE,
        };
        let same = alone.len() == together.len()
            && (alone.iter().zip(&together)).all(|(one, other)| agree(one, other, tolerance));
        if same {
            return Ok(());
        }
        Err(ModelFault::Answer(
            "for two pictures together it gives other answers than for each alone; if it is made \
             for one at a time, write \"batch\": 1 in fovea.json, and if it is not, save it in \
             evaluation mode"
                .to_owned(),
        ))
    }
}

/// A horizontal gradient with the same mean as [`PixelValues::blank`].
fn slope((height, width): (u32, u32)) -> PixelValues {
    #[expect(clippy::cast_precision_loss, reason = "thousands of pixels")]
    let row = (0..width).map(|column| (column as f32 + 0.5) / width as f32 - 0.5);
    let row: Vec<f32> = row.collect();
    PixelValues::new(
        row.repeat(3 * height as usize),
        (height, width),
        (width, height),
    )
    .unwrap_or_else(|| PixelValues::blank((height, width)))
}

/// Whether two answers are equal except for rounding.
fn agree(one: &Answer, other: &Answer, tolerance: f32) -> bool {
    let close = |a: f32, b: f32| {
        // A blank picture may give NaN; then it does so both together and alone.
        a.total_cmp(&b).is_eq()
            || (a.is_nan() && b.is_nan())
            || (a - b).abs() <= tolerance * (1.0 + a.abs())
    };
    match (one, other) {
        (Answer::Logits(a), Answer::Logits(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(*a, *b))
        }
        (Answer::Objects(a), Answer::Objects(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    a.label == b.label
                        && close(a.score, b.score)
                        && a.corners.iter().zip(b.corners).all(|(a, b)| close(*a, b))
                })
        }
        _ => false,
    }
}
