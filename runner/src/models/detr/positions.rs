//! Position encodings of a feature map: sines and cosines of many wavelengths, of the row and then of
//! the column, both as fractions of the whole.

use crate::weights::Placement;
use std::f64::consts::TAU;
use tch::{Kind, TchError, Tensor};

/// Ratio of the longest wavelength to the shortest.
const TEMPERATURE: f64 = 10_000.0;

/// Added to the length before dividing by it.
const EPS: f64 = 1e-6;

/// `[1, height * width, size]` for a feature map of this height and width; `size` is a multiple of
/// 4. Computed in 32 bits on the CPU: transformers does it in the model's own numbers.
pub(super) fn sine_positions(
    [height, width]: [i64; 2],
    size: i64,
    placement: Placement,
) -> Result<Tensor, TchError> {
    let half = size / 2;
    let rows = axis(height, half)?.f_unsqueeze(1)?;
    let columns = axis(width, half)?.f_unsqueeze(0)?;
    let shape = [height, width, half];
    let parts = [
        rows.f_expand(shape, false)?,
        columns.f_expand(shape, false)?,
    ];
    Tensor::f_cat(&parts, 2)?
        .f_reshape([1, height * width, size])?
        .f_to_device(placement.device)?
        .f_to_kind(placement.kind)
}

/// `[length, size]`: a sine, a cosine, a sine of the next wavelength.
fn axis(length: i64, size: i64) -> Result<Tensor, TchError> {
    let on_cpu = |kind| (kind, tch::Device::Cpu);
    #[expect(clippy::cast_precision_loss, reason = "a side in pixels is small")]
    let whole = length as f64 + EPS;
    let places = Tensor::f_arange_start(1, length + 1, on_cpu(Kind::Float))?
        .f_div_scalar(whole)?
        .f_mul_scalar(TAU)?
        .f_unsqueeze(1)?;
    #[expect(clippy::cast_precision_loss, reason = "a width is small")]
    let exponent = |pair: i64| (2 * pair) as f64 / size as f64;
    let wavelengths: Vec<f64> = (0..size / 2)
        .map(|pair| TEMPERATURE.powf(exponent(pair)))
        .collect();
    let wavelengths = Tensor::f_from_slice(&wavelengths)?.f_to_kind(Kind::Float)?;
    let angles = places.f_div(&wavelengths)?;
    Tensor::f_stack(&[angles.f_sin()?, angles.f_cos()?], 2)?.f_flatten(1, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_before_a_column_and_a_sine_before_a_cosine() {
        let positions = sine_positions([2, 3], 8, Placement::CPU).unwrap();
        assert_eq!(positions.size(), [1, 6, 8]);
        // The place in row 1 of 2 and column 3 of 3; 100 is the second wavelength.
        let place = Vec::<f64>::try_from(positions.select(1, 2).flatten(0, 1)).unwrap();
        let (row, column) = (TAU / 2.0, TAU);
        let by_hand = [row, row / 100.0, column, column / 100.0];
        for (i, angle) in by_hand.into_iter().enumerate() {
            assert!((place[2 * i] - angle.sin()).abs() < 1e-5, "{place:?}");
            assert!((place[2 * i + 1] - angle.cos()).abs() < 1e-5, "{place:?}");
        }
    }
}
