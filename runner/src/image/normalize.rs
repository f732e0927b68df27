//! Bytes to floats: rescale and normalise, exactly as transformers' numpy code rounds.

/// What every one of the 256 levels of a channel becomes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LevelTable([[f32; 256]; 3]);

impl LevelTable {
    /// `rescale`: the factor, if levels are rescaled. `normalize`: mean and standard deviation
    /// of each channel, if they are normalised.
    pub(super) fn new(rescale: Option<f64>, normalize: Option<([f32; 3], [f32; 3])>) -> Self {
        let mut table = [[0.0; 256]; 3];
        for (channel, levels) in table.iter_mut().enumerate() {
            for (level, value) in (0u8..=255).zip(levels) {
                // numpy multiplies in f64, rounds to f32, and normalises in f32.
                #[expect(clippy::cast_possible_truncation, reason = "numpy rounds here, too")]
                let rescaled = rescale.map_or(f32::from(level), |factor| {
                    (f64::from(level) * factor) as f32
                });
                *value = normalize.map_or(rescaled, |(mean, std)| {
                    (rescaled - mean[channel]) / std[channel]
                });
            }
        }
        Self(table)
    }

    /// Planes of a picture that is black as yet, `width` and `height` in pixels.
    pub(super) fn black(&self, width: usize, height: usize) -> Vec<f32> {
        let pixels = width * height;
        let mut values = vec![0.0; 3 * pixels];
        for (plane, levels) in values.chunks_exact_mut(pixels).zip(&self.0) {
            // Fresh zeros cost nothing until they are written.
            if levels[0] != 0.0 {
                plane.fill(levels[0]);
            }
        }
        values
    }

    /// Puts a row of RGB bytes into three planes of values, in each from `at` on.
    pub(super) fn apply(&self, rgb: &[u8], values: &mut [f32], at: usize) {
        let (first, rest) = values.split_at_mut(values.len() / 3);
        let (second, third) = rest.split_at_mut(rest.len() / 2);
        let [red, green, blue] = &self.0;
        let places = (first[at..].iter_mut())
            .zip(&mut second[at..])
            .zip(&mut third[at..]);
        for (pixel, ((first, second), third)) in rgb.chunks_exact(3).zip(places) {
            *first = red[usize::from(pixel[0])];
            *second = green[usize::from(pixel[1])];
            *third = blue[usize::from(pixel[2])];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LevelTable;

    #[test]
    fn channels_become_planes() {
        let table = LevelTable::new(None, Some(([0.0, 1.0, 2.0], [1.0, 1.0, 2.0])));
        let mut values = table.black(3, 1);
        table.apply(&[10, 20, 30, 40, 50, 60], &mut values, 1);
        let planes = [0.0, 10.0, 40.0, -1.0, 19.0, 49.0, -1.0, 14.0, 29.0];
        assert_eq!(values, planes);
    }
}
