//! The model's input for one picture.

/// Normalised values of one picture, and the size that it had.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelValues {
    values: Vec<f32>,
    height: u32,
    width: u32,
    picture_size: (u32, u32),
}

impl PixelValues {
    /// `values`, channel by channel and row by row, of three channels with `height` and `width`;
    /// `picture_size`, width and height, is that of the upright picture before it was resized.
    /// None where `values` are not as many as that takes.
    pub fn new(
        values: Vec<f32>,
        (height, width): (u32, u32),
        picture_size: (u32, u32),
    ) -> Option<Self> {
        let count = 3 * u64::from(height) * u64::from(width);
        (values.len() as u64 == count).then_some(Self {
            values,
            height,
            width,
            picture_size,
        })
    }

    /// A uniform grey picture, for a warm-up.
    pub fn blank((height, width): (u32, u32)) -> Self {
        Self {
            values: vec![0.0; 3 * height as usize * width as usize],
            height,
            width,
            picture_size: (width, height),
        }
    }

    /// Channel by channel, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [i64; 3] {
        [3, i64::from(self.height), i64::from(self.width)]
    }

    /// Width and height of the upright picture before it was resized, in pixels: the frame of a
    /// detection's box.
    pub fn picture_size(&self) -> (u32, u32) {
        self.picture_size
    }
}
