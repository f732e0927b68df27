//! Resizing as Pillow 13 does it (`Resample.c`): a horizontal and a vertical convolution with a
//! filter as wide as the reduction, in fixed point on 8-bit channels, to the last bit.
//!
//! The loops are written for the compiler to vectorise; `pulp` compiles them for the processor's
//! wider vectors as well, and takes those where there are any.

use super::filter::{PRECISION_BITS, Resample, Taps, reach, taps, taps_bytes};
use super::picture::{CHANNELS, Picture};
use std::ops::Range;

/// Initial value of a sum: one half, for rounding.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Rows per step of the horizontal pass.
const ROWS: usize = 4;

/// Bytes of a row per step of the vertical pass.
const BLOCK: usize = 32;

/// Bytes of a pixel with a fourth channel, which only helps vectorisation.
const WIDE: usize = 4;

/// Pixels of one column in [`ROWS`] rows.
type Column = [u8; ROWS * WIDE];

/// Whether the vertical pass goes first: where it shrinks the picture much more than the
/// horizontal one does. Pillow 13's rule, found by trial on 1,445 pairs of sizes; the order shows
/// in the last bit. Sizes are width and height, in pixels.
fn vertical_first(from: (u32, u32), to: (u32, u32)) -> bool {
    let saved_columns = i64::from(from.0) - i64::from(to.0);
    let saved_rows = i64::from(from.1) - i64::from(to.1);
    saved_rows > 0 && saved_rows > 2 * saved_columns
}

/// The part of a resized picture to compute, in its pixels.
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
    let columns = reach(from.0, to.0, resample, window.columns());
    let rows = reach(from.1, to.1, resample, window.rows());
    let (columns, rows) = (columns.end - columns.start, rows.end - rows.start);
    let (width, height) = if vertical_first(from, to) {
        (columns, window.height)
    } else {
        (window.width, rows)
    };
    let between = u64::from(width) * u64::from(height) * CHANNELS as u64;
    // The input's rows as slices, some of them widened, and as many that come of them.
    let slices = u64::from(from.1) * size_of::<&[u8]>() as u64;
    let wide = 2 * (u64::from(columns) + u64::from(window.width)) * size_of::<Column>() as u64;
    let coefficients = taps_bytes(from.0, to.0, resample, window.width)
        + taps_bytes(from.1, to.1, resample, window.height);
    between + slices + wide + coefficients
}

/// `window` of `picture` at `to` pixels, width and height: `draw` gets its rows of RGB bytes, from
/// top to bottom. No side is 0.
pub(super) fn resize(
    picture: &Picture,
    to: (u32, u32),
    window: &Window,
    resample: Resample,
    draw: impl FnMut(&[u8]),
) {
    let from = picture.dimensions();
    let columns = Pass::new(from.0, to.0, resample, window.columns());
    let rows = Pass::new(from.1, to.1, resample, window.rows());
    let needed = columns.reach.start as usize * CHANNELS..columns.reach.end as usize * CHANNELS;
    let picture: Vec<&[u8]> = (picture.as_raw().chunks_exact(from.0 as usize * CHANNELS))
        .skip(rows.reach.start as usize)
        .take(rows.reach.len())
        .map(|row| &row[needed.clone()])
        .collect();
    let mut between = Vec::new();
    let pulp = pulp::Arch::new();
    if vertical_first(from, to) {
        between.reserve_exact(window.height as usize * needed.len());
        pulp.dispatch(Vertically(&rows, &picture, |row: &[u8]| {
            between.extend_from_slice(row);
        }));
        let between: Vec<&[u8]> = between.chunks_exact(needed.len()).collect();
        pulp.dispatch(Horizontally(&columns, &between, draw));
    } else {
        let length = window.width as usize * CHANNELS;
        between.reserve_exact(picture.len() * length);
        pulp.dispatch(Horizontally(&columns, &picture, |row: &[u8]| {
            between.extend_from_slice(row);
        }));
        let between: Vec<&[u8]> = between.chunks_exact(length).collect();
        pulp.dispatch(Vertically(&rows, &between, draw));
    }
}

/// A pass in one direction.
struct Pass {
    /// The needed part of the input; a pass's input begins with it.
    reach: Range<u32>,
    /// `None` if the size does not change.
    taps: Option<Taps>,
}

impl Pass {
    fn new(from: u32, to: u32, resample: Resample, wanted: Range<u32>) -> Self {
        if from == to {
            return Self {
                reach: wanted,
                taps: None,
            };
        }
        let reach = reach(from, to, resample, wanted.clone());
        Self {
            taps: Some(taps(from, to, resample, wanted, reach.start)),
            reach,
        }
    }
}

/// A pass over rows; the third field receives the output.
struct Horizontally<'a, F>(&'a Pass, &'a [&'a [u8]], F);

/// The same pass as [`Horizontally`], for columns.
struct Vertically<'a, F>(&'a Pass, &'a [&'a [u8]], F);

impl<F: FnMut(&[u8])> pulp::WithSimd for Horizontally<'_, F> {
    type Output = ();

    #[expect(
        clippy::inline_always,
        reason = "what is inlined is compiled for wider vectors"
    )]
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self(pass, rows, mut draw) = self;
        let Some(taps) = &pass.taps else {
            return rows.iter().for_each(|row| draw(row));
        };
        let mut columns = vec![Column::default(); pass.reach.len()];
        let mut resized: [Vec<u8>; ROWS] = std::array::from_fn(|_| vec![0; taps.len() * CHANNELS]);
        for group in rows.chunks(ROWS) {
            for (place, row) in group.iter().enumerate() {
                for (column, pixel) in columns.iter_mut().zip(row.as_chunks::<CHANNELS>().0) {
                    column[place * WIDE..][..CHANNELS].copy_from_slice(pixel);
                }
            }
            for (at, (start, coefficients)) in taps.iter().enumerate() {
                let mut sums = [HALF; ROWS * WIDE];
                let columns = &columns[start..start + coefficients.len()];
                let (mut columns, mut coefficients) = (columns.iter(), coefficients.iter());
                // Not zipped: the compiler would vectorise this loop instead of the inner one.
                while let (Some(column), Some(coefficient)) = (columns.next(), coefficients.next())
                {
                    for (sum, level) in sums.iter_mut().zip(column) {
                        *sum += i32::from(*level) * coefficient;
                    }
                }
                let levels = sums.map(level);
                for (resized, pixel) in resized.iter_mut().zip(levels.as_chunks::<WIDE>().0) {
                    resized[at * CHANNELS..][..CHANNELS].copy_from_slice(&pixel[..CHANNELS]);
                }
            }
            resized[..group.len()].iter().for_each(|row| draw(row));
        }
    }
}

impl<F: FnMut(&[u8])> pulp::WithSimd for Vertically<'_, F> {
    type Output = ();

    #[expect(
        clippy::inline_always,
        reason = "what is inlined is compiled for wider vectors"
    )]
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self(pass, rows, mut draw) = self;
        let Some(taps) = &pass.taps else {
            return rows.iter().for_each(|row| draw(row));
        };
        let length = rows.first().map_or(0, |row| row.len());
        let mut resized = vec![0; length];
        for (start, coefficients) in taps.iter() {
            let rows = &rows[start..start + coefficients.len()];
            let (blocks, rest) = resized.as_chunks_mut::<BLOCK>();
            for (index, block) in blocks.iter_mut().enumerate() {
                *block = column_block(rows, coefficients, index * BLOCK);
            }
            let at = length - rest.len();
            for (place, value) in rest.iter_mut().enumerate() {
                let inputs = rows.iter().map(|row| i32::from(row[at + place]));
                let products = inputs.zip(coefficients).map(|(level, c)| level * c);
                *value = level(HALF + products.sum::<i32>());
            }
            draw(&resized);
        }
    }
}

/// `BLOCK` bytes from `at` on of all rows, put together.
#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn column_block(rows: &[&[u8]], coefficients: &[i32], at: usize) -> [u8; BLOCK] {
    let mut sums = [HALF; BLOCK];
    for (row, coefficient) in rows.iter().zip(coefficients) {
        for (sum, level) in sums.iter_mut().zip(&row[at..at + BLOCK]) {
            *sum += i32::from(*level) * coefficient;
        }
    }
    sums.map(level)
}

/// A sum as a level: Pillow's `clip8`.
#[expect(
    clippy::inline_always,
    clippy::cast_sign_loss,
    reason = "as above; it is within a byte's range"
)]
#[inline(always)]
fn level(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
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

    fn part(picture: &Picture, to: (u32, u32), window: &Window, resample: Resample) -> Vec<u8> {
        let mut rgb = Vec::new();
        resize(picture, to, window, resample, |row| {
            rgb.extend_from_slice(row);
        });
        rgb
    }

    fn whole(picture: &Picture, to: (u32, u32), resample: Resample) -> Vec<u8> {
        part(picture, to, &all(to), resample)
    }

    #[test]
    fn an_even_picture_stays_even_in_whatever_size_and_by_whatever_filter() {
        for resample in ALL {
            for (from, to) in [((1, 1), (7, 3)), ((100, 3), (8, 8)), ((5, 64), (64, 5))] {
                let pixels = [255, 7, 0].repeat((from.0 * from.1) as usize);
                let picture = Picture::new(from.0, from.1, pixels).unwrap();
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
        let window = Window {
            left: 5,
            top: 3,
            width: 9,
            height: 4,
        };
        for resample in ALL {
            for to in [(20, 30), (70, 60), (100, 8), (50, 20), (20, 40), (50, 40)] {
                let resized = whole(&picture, to, resample);
                let expected: Vec<u8> = (resized.chunks_exact(to.0 as usize * 3).skip(3).take(4))
                    .flat_map(|row| row[15..42].to_vec())
                    .collect();
                assert_eq!(
                    part(&picture, to, &window, resample),
                    expected,
                    "{resample:?}"
                );
            }
        }
    }

    #[test]
    fn a_sliver_of_a_picture_takes_little_memory_on_its_way() {
        let to = (384, 384);
        let working = |from| working_bytes(from, to, &all(to), Resample::Bicubic);
        let most = 20 * working(to);
        assert!(working((1, 100_000)) < most);
        assert!(working((100_000, 1)) < most);
    }
}
