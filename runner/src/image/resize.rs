//! Resizing as Pillow 13 does it (`Resample.c`): a horizontal and a vertical convolution with a
//! filter as wide as the reduction, in fixed point on 8-bit channels, to the last bit.

use super::filter::{PRECISION_BITS, Resample, Taps, reach, taps};
use super::picture::{CHANNELS, Picture};
use std::ops::Range;

/// Whether the vertical pass goes first: where it shrinks the picture much more than the
/// horizontal one does. Pillow 13's rule, found by trial on 1,445 pairs of sizes; the order shows
/// in the last bit. Sizes are width and height, in pixels.
fn vertical_first(from: (u32, u32), to: (u32, u32)) -> bool {
    let saved_columns = i64::from(from.0) - i64::from(to.0);
    let saved_rows = i64::from(from.1) - i64::from(to.1);
    saved_rows > 0 && saved_rows > 2 * saved_columns
}

/// The part of a resized picture that is wanted, in its pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Window {
    fn columns(&self) -> Range<u32> {
        self.left..self.left + self.width
    }

    fn rows(&self) -> Range<u32> {
        self.top..self.top + self.height
    }
}

/// Memory that [`resize`] needs for the picture between its passes. Sizes are width and height,
/// in pixels.
pub(super) fn working_bytes(
    from: (u32, u32),
    to: (u32, u32),
    window: &Window,
    resample: Resample,
) -> u64 {
    let (width, height) = if vertical_first(from, to) {
        let reach = reach(from.0, to.0, resample, window.columns());
        (reach.end - reach.start, window.height)
    } else {
        let reach = reach(from.1, to.1, resample, window.rows());
        (window.width, reach.end - reach.start)
    };
    CHANNELS as u64 * u64::from(width) * u64::from(height)
}

/// `window` of `picture` at `to` pixels, width and height: rows of RGB bytes. No side is 0.
pub(super) fn resize(
    picture: &Picture,
    to: (u32, u32),
    window: &Window,
    resample: Resample,
) -> Vec<u8> {
    let from = picture.dimensions();
    let row_bytes = from.0 as usize * CHANNELS;
    let rows: Vec<&[u8]> = picture.as_raw().chunks_exact(row_bytes).collect();
    let horizontal = taps(from.0, to.0, resample, window.columns());
    let vertical = taps(from.1, to.1, resample, window.rows());
    if vertical_first(from, to) {
        let kept = reach(from.0, to.0, resample, window.columns());
        let (first, last) = (kept.start as usize * CHANNELS, kept.end as usize * CHANNELS);
        let rows: Vec<&[u8]> = rows.iter().map(|row| &row[first..last]).collect();
        let between = vertically(&rows, &vertical, 0);
        horizontally(
            between.chunks_exact(last - first),
            &horizontal,
            kept.start as usize,
        )
    } else {
        let kept = reach(from.1, to.1, resample, window.rows());
        let rows = &rows[kept.start as usize..kept.end as usize];
        let between = horizontally(rows.iter().copied(), &horizontal, 0);
        let rows: Vec<&[u8]> = between.chunks_exact(horizontal.len() * CHANNELS).collect();
        vertically(&rows, &vertical, kept.start as usize)
    }
}

/// `rows` begin at column `first` of those that `taps` count.
fn horizontally<'a>(rows: impl Iterator<Item = &'a [u8]>, taps: &[Taps], first: usize) -> Vec<u8> {
    let mut resized = Vec::with_capacity(rows.size_hint().0 * taps.len() * CHANNELS);
    for row in rows {
        for Taps {
            start,
            coefficients,
        } in taps
        {
            let mut sums = [1 << (PRECISION_BITS - 1); CHANNELS];
            let inputs = row[(start - first) * CHANNELS..].chunks_exact(CHANNELS);
            for (input, coefficient) in inputs.zip(coefficients) {
                for (sum, level) in sums.iter_mut().zip(input) {
                    *sum += i32::from(*level) * coefficient;
                }
            }
            resized.extend(sums.map(level));
        }
    }
    resized
}

/// `rows` begin at row `first` of those that `taps` count.
fn vertically(rows: &[&[u8]], taps: &[Taps], first: usize) -> Vec<u8> {
    let row_bytes = rows.first().map_or(0, |row| row.len());
    let mut resized = Vec::with_capacity(taps.len() * row_bytes);
    let mut sums = vec![0; row_bytes];
    for Taps {
        start,
        coefficients,
    } in taps
    {
        sums.fill(1 << (PRECISION_BITS - 1));
        for (row, coefficient) in rows[start - first..].iter().zip(coefficients) {
            for (sum, level) in sums.iter_mut().zip(*row) {
                *sum += i32::from(*level) * coefficient;
            }
        }
        resized.extend(sums.iter().copied().map(level));
    }
    resized
}

/// A sum, which began with one half, as a level: Pillow's `clip8`.
fn level(sum: i32) -> u8 {
    u8::try_from((sum >> PRECISION_BITS).clamp(0, 255)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Resample; 6] = [
        Resample::Nearest,
        Resample::Lanczos,
        Resample::Bilinear,
        Resample::Bicubic,
        Resample::Box,
        Resample::Hamming,
    ];

    fn all((width, height): (u32, u32)) -> Window {
        Window {
            left: 0,
            top: 0,
            width,
            height,
        }
    }

    fn whole(picture: &Picture, to: (u32, u32), resample: Resample) -> Vec<u8> {
        resize(picture, to, &all(to), resample)
    }

    #[test]
    fn an_even_picture_stays_even_in_whatever_size_and_by_whatever_filter() {
        for resample in ALL {
            for (from, to) in [((1, 1), (7, 3)), ((100, 3), (8, 8)), ((5, 64), (64, 5))] {
                let picture = Picture::new(
                    from.0,
                    from.1,
                    [255, 7, 0].repeat((from.0 * from.1) as usize),
                )
                .unwrap();
                let resized = whole(&picture, to, resample);
                assert_eq!(resized.len(), (to.0 * to.1 * 3) as usize);
                assert!(
                    resized.chunks(3).all(|pixel| pixel == [255, 7, 0]),
                    "{resample:?}"
                );
            }
        }
    }

    #[test]
    fn halving_by_the_box_filter_is_the_mean_of_two() {
        let picture = Picture::new(2, 1, vec![10, 20, 30, 20, 40, 61]).unwrap();
        assert_eq!(whole(&picture, (1, 1), Resample::Box), [15, 30, 46]);
    }

    #[test]
    fn a_window_is_a_part_of_the_whole() {
        let levels = (0..50 * 40 * 3u32).map(|at| (at * at / 7).to_le_bytes()[0]);
        let picture = Picture::new(50, 40, levels.collect()).unwrap();
        for resample in ALL {
            for to in [(20, 30), (70, 60), (100, 8)] {
                let resized = whole(&picture, to, resample);
                let window = Window {
                    left: 5,
                    top: 3,
                    width: 9,
                    height: 4,
                };
                let part: Vec<u8> = (resized.chunks_exact(to.0 as usize * 3).skip(3).take(4))
                    .flat_map(|row| row[15..42].to_vec())
                    .collect();
                assert_eq!(
                    resize(&picture, to, &window, resample),
                    part,
                    "{resample:?}"
                );
            }
        }
    }

    #[test]
    fn a_sliver_of_a_picture_takes_little_memory_on_its_way() {
        let to = (384, 384);
        let working = |from| working_bytes(from, to, &all(to), Resample::Bicubic);
        let most = 10 * working(to);
        assert!(working((1, 100_000_000)) < most);
        assert!(working((100_000_000, 1)) < most);
    }
}
