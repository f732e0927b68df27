//! The first passes of a model: libtorch sets up threads and caches, and the passes measure the time
//! of one and the batch size that is worth its latency.

use crate::image::PixelValues;
use crate::inference::{Item, Model, ModelFault, ModelFront};
use fovea_protocol::Parameters;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// The largest batch that `auto` tries.
const MOST_PICTURES: usize = 256;

/// Doubling the batch must raise the pictures per second by this factor to be worth its latency.
const LEAST_GAIN: f64 = 1.05;

/// Timed passes for each batch size; the fastest counts.
const TIMED_PASSES: usize = 2;

/// How many pictures may share a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxBatchSize {
    Fixed(NonZeroUsize),
    /// Measured by the warm-up, at most [`MOST_PICTURES`].
    Auto,
}

impl FromStr for MaxBatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            number => (number.parse().map(Self::Fixed))
                .map_err(|_| "write a number from 1, or auto".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct WarmUp {
    /// Time of a pass over one blank picture.
    pub(super) pass: Duration,
    /// Upper bound on pictures in one pass.
    pub(super) pictures: usize,
}

/// Runs passes over blank pictures, each of at most `max_pixels` input pixels.
pub(super) fn run(
    model: &dyn Model,
    front: &ModelFront,
    max_batch_size: MaxBatchSize,
    max_pixels: u64,
) -> Result<WarmUp, ModelFault> {
    let query = (front.head.query(&Parameters::default()))
        .map_err(|problem| ModelFault::Answer(problem.detail))?;
    let pixels = PixelValues::blank(front.preprocessor.warm_up_size());
    let [_, height, width] = pixels.shape();
    let item = Item { pixels, query };
    let pass = |pictures: usize| {
        let items = vec![item.clone(); pictures];
        let begun = Instant::now();
        model.run(&items, &|_| false).map(|_| begun.elapsed())
    };
    let timed = |pictures: usize| -> Result<Duration, ModelFault> {
        (0..TIMED_PASSES).try_fold(Duration::MAX, |best, _| Ok(best.min(pass(pictures)?)))
    };
    // The first pass includes set-up, so it is not timed.
    pass(1)?;
    let alone = timed(1)?;
    let pictures = match max_batch_size {
        MaxBatchSize::Fixed(pictures) => pictures.get(),
        MaxBatchSize::Auto => {
            let fits =
                |pictures: usize| pictures as u64 * (height * width).unsigned_abs() <= max_pixels;
            // A size that fails, for example out of memory, is not used.
            largest_worthwhile(1.0 / alone.as_secs_f64(), |pictures| {
                (fits(pictures).then(|| timed(pictures).ok()).flatten())
                    .map(|took| usize_to_f64(pictures) / took.as_secs_f64())
            })
        }
    };
    Ok(WarmUp {
        pass: alone,
        pictures,
    })
}

/// The largest batch, doubling from one, up to which every doubling gains [`LEAST_GAIN`]. `alone` is
/// the pictures per second of single passes; `rate` that of batches, `None` if they fail.
fn largest_worthwhile(alone: f64, mut rate: impl FnMut(usize) -> Option<f64>) -> usize {
    let (mut best, mut pictures) = (alone, 1);
    while pictures < MOST_PICTURES {
        match rate(pictures * 2) {
            Some(rate) if rate > best * LEAST_GAIN => {
                best = rate;
                pictures *= 2;
            }
            _ => break,
        }
    }
    pictures
}

#[expect(clippy::cast_precision_loss, reason = "at most 256")]
fn usize_to_f64(pictures: usize) -> f64 {
    pictures as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_grows_only_while_it_gains() {
        let saturating = |pictures: usize| Some(usize_to_f64(pictures.min(8)));
        assert_eq!(largest_worthwhile(1.0, saturating), 8);
        assert_eq!(largest_worthwhile(1.0, |_| Some(1.05)), 1);
        assert_eq!(
            largest_worthwhile(1.0, |n| Some(usize_to_f64(n))),
            MOST_PICTURES
        );
        let no_room_for_four = |pictures| (pictures < 4).then_some(usize_to_f64(pictures));
        assert_eq!(largest_worthwhile(1.0, no_room_for_four), 2);
    }

    #[test]
    fn a_size_is_a_number_or_auto() {
        assert_eq!("auto".parse(), Ok(MaxBatchSize::Auto));
        let eight = MaxBatchSize::Fixed(NonZeroUsize::new(8).unwrap());
        assert_eq!("8".parse(), Ok(eight));
        assert!("0".parse::<MaxBatchSize>().is_err());
        assert!("many".parse::<MaxBatchSize>().is_err());
    }
}
