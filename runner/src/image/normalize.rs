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

    /// Rows of RGB bytes to three planes of values.
    pub(super) fn apply(&self, rgb: &[u8]) -> Vec<f32> {
        let pixels = rgb.len() / 3;
        let mut values = Vec::with_capacity(rgb.len());
        for (channel, levels) in self.0.iter().enumerate() {
            let plane = rgb.iter().skip(channel).step_by(3);
            values.extend(plane.take(pixels).map(|&level| levels[usize::from(level)]));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::LevelTable;

    #[test]
    fn channels_become_planes() {
        let table = LevelTable::new(None, Some(([0.0, 1.0, 2.0], [1.0, 1.0, 2.0])));
        assert_eq!(
            table.apply(&[10, 20, 30, 40, 50, 60]),
            [10.0, 40.0, 19.0, 49.0, 14.0, 29.0]
        );
    }
}
