//! Pillow's resampling filters, and the input pixels and weights of each output pixel.

use std::f64::consts::PI;
use std::ops::Range;

/// Fractional bits of a coefficient: Pillow's `PRECISION_BITS`.
pub(super) const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Pillow's filters by their numbers in `preprocessor_config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "u8")]
pub(super) enum Resample {
    Nearest,
    Lanczos,
    Bilinear,
    Bicubic,
    Box,
    Hamming,
}

impl TryFrom<u8> for Resample {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        Ok(match number {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            other => return Err(format!("resample {other} is none of Pillow's 0 to 5")),
        })
    }
}

impl Resample {
    /// The filter's radius, in output pixels; 0 for nearest.
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| {
            if x == 0.0 {
                1.0
            } else {
                (x * PI).sin() / (x * PI)
            }
        };
        match self {
            Self::Box | Self::Nearest => f64::from(x > -0.5 && x <= 0.5),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Hamming if x.abs() >= 1.0 => 0.0,
            Self::Hamming => sinc(x) * (0.54 + 0.46 * (x * PI).cos()),
            Self::Bicubic => bicubic(x.abs()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

/// Keys' cubic convolution with a = -0.5, for `x >= 0`.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Input pixels and coefficients of each output pixel.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// First input pixel, and end of the coefficients, per output pixel.
    ends: Vec<(usize, usize)>,
    coefficients: Vec<i32>,
}

impl Taps {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// For each output pixel: the first input pixel, and the coefficients of it and the next ones.
    #[expect(clippy::inline_always, reason = "it feeds vectorised loops")]
    #[inline(always)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let mut from = 0;
        self.ends.iter().map(move |&(start, to)| {
            let coefficients = &self.coefficients[from..to];
            from = to;
            (start, coefficients)
        })
    }

    fn push(&mut self, start: u32, coefficients: impl Iterator<Item = i32>) {
        self.coefficients.extend(coefficients);
        self.ends.push((start as usize, self.coefficients.len()));
    }
}

/// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`, in one direction, for the `wanted`
/// output pixels. Input pixels are counted from `first` on.
pub(super) fn taps(from: u32, to: u32, resample: Resample, wanted: Range<u32>, first: u32) -> Taps {
    let mut taps = Taps::default();
    if resample == Resample::Nearest {
        nearest(from, to, &wanted, first, &mut taps);
        return taps;
    }
    let filter = Filter::new(from, to, resample);
    let mut weights = Vec::new();
    for at in wanted {
        let start = filter.weights(at, &mut weights);
        taps.push(start - first, weights.iter().copied().map(fixed));
    }
    taps
}

/// Memory of [`taps`] for `wanted` output pixels, in bytes.
pub(super) fn taps_bytes(from: u32, to: u32, resample: Resample, wanted: u32) -> u64 {
    let most = reach(from, to, resample, 0..1).len().max(
        // In the middle of the side nothing is clipped.
        reach(from, to, resample, to / 2..to / 2 + 1).len(),
    ) as u64
        + 2;
    let each = most * size_of::<i32>() as u64 + size_of::<(usize, usize)>() as u64;
    // Lists grow by doubling.
    2 * (u64::from(wanted) * each + most * size_of::<f64>() as u64)
}

/// Converts to fixed point with `PRECISION_BITS` fractional bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "Pillow truncates here, too; coefficients are in range"
)]
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION_BITS)).round() as i32
}

/// The input pixels that the `wanted` output pixels depend on.
pub(super) fn reach(from: u32, to: u32, resample: Resample, wanted: Range<u32>) -> Range<u32> {
    if wanted.is_empty() {
        return 0..0;
    }
    let filter = Filter::new(from, to, resample);
    let (first, last) = (filter.reach(wanted.start), filter.reach(wanted.end - 1));
    // One more pixel on each side covers the rounding of `nearest`.
    first.start.saturating_sub(1)..(last.end + 1).min(from)
}

struct Filter {
    resample: Resample,
    from: u32,
    scale: f64,
    /// Factor by which downscaling widens the filter, at least 1.
    stretch: f64,
    support: f64,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Pillow truncates here, too; sides and coefficients are in range"
)]
impl Filter {
    fn new(from: u32, to: u32, resample: Resample) -> Self {
        let scale = f64::from(from) / f64::from(to);
        let stretch = scale.max(1.0);
        Self {
            resample,
            from,
            scale,
            stretch,
            support: resample.support() * stretch,
        }
    }

    fn center(&self, at: u32) -> f64 {
        (f64::from(at) + 0.5) * self.scale
    }

    fn reach(&self, at: u32) -> Range<u32> {
        let center = self.center(at);
        let start = (center - self.support + 0.5).max(0.0) as u32;
        let end = ((center + self.support + 0.5) as u32).min(self.from);
        start..end
    }

    /// Sets `weights` to those of an output pixel; returns its first input pixel.
    fn weights(&self, at: u32, weights: &mut Vec<f64>) -> u32 {
        let center = self.center(at);
        let reach = self.reach(at);
        let start = reach.start;
        weights.clear();
        weights.extend(reach.map(|x| {
            let distance = f64::from(x) - center + 0.5;
            self.resample.weight(distance / self.stretch)
        }));
        let sum: f64 = weights.iter().sum();
        if sum != 0.0 {
            for weight in weights {
                *weight /= sum;
            }
        }
        start
    }
}

/// Pillow's `ImagingScaleAffine`, which accumulates the position step by step.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Pillow truncates here, too; positions are in range"
)]
fn nearest(from: u32, to: u32, wanted: &Range<u32>, first: u32, taps: &mut Taps) {
    let step = f64::from(from) / f64::from(to);
    let mut position = 0.5 * step;
    for at in 0..wanted.end {
        if wanted.contains(&at) {
            let nearest = (position as u32).min(from - 1);
            taps.push(nearest - first, std::iter::once(1 << PRECISION_BITS));
        }
        position += step;
    }
}
