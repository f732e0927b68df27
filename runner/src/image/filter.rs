//! Pillow's resampling filters, and what of the input each output pixel is made of.

use std::f64::consts::PI;

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
    /// How far the filter reaches, in output pixels; 0 where the nearest pixel alone counts.
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

/// Keys' cubic convolution with a = -0.5; `x` is not negative.
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

/// What of the input one output pixel is made of: from `start` on, by these coefficients.
#[derive(Debug, PartialEq)]
pub(super) struct Taps {
    pub(super) start: usize,
    pub(super) coefficients: Vec<i32>,
}

/// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`, for one direction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Pillow truncates here, too; sides and coefficients are in range"
)]
pub(super) fn taps(from: u32, to: u32, resample: Resample) -> Vec<Taps> {
    let scale = f64::from(from) / f64::from(to);
    let filter_scale = scale.max(1.0);
    let support = resample.support() * filter_scale;
    (0..to)
        .map(|at| {
            let center = (f64::from(at) + 0.5) * scale;
            if resample == Resample::Nearest {
                let start = (center as usize).min(from as usize - 1);
                return Taps {
                    start,
                    coefficients: vec![1 << PRECISION_BITS],
                };
            }
            let start = (center - support + 0.5).max(0.0) as u32;
            let end = ((center + support + 0.5) as u32).min(from);
            let weights: Vec<f64> = (start..end)
                .map(|x| resample.weight((f64::from(x) - center + 0.5) / filter_scale))
                .collect();
            let sum: f64 = weights.iter().sum();
            let unit = f64::from(1 << PRECISION_BITS);
            let coefficients = (weights.iter())
                .map(|weight| if sum == 0.0 { *weight } else { weight / sum })
                .map(|weight| (weight * unit).round() as i32)
                .collect();
            Taps {
                start: start as usize,
                coefficients,
            }
        })
        .collect()
}
