//! A decoded picture.

use super::PictureError;

/// Red, green, blue.
pub(super) const CHANNELS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// `rgb` has `width * height` pixels of three bytes each, row by row.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, PictureError> {
        let bytes = u64::from(width) * u64::from(height) * CHANNELS as u64;
        if width == 0 || height == 0 {
            return Err(PictureError::Empty);
        }
        if rgb.len() as u64 != bytes {
            return Err(PictureError::Truncated);
        }
        Ok(Self { width, height, rgb })
    }

    /// Width and height, in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Red, green, blue of each pixel, row by row.
    pub fn as_raw(&self) -> &[u8] {
        &self.rgb
    }

    /// Rotates and mirrors the picture for EXIF `orientation` 2 to 8; other values change nothing.
    pub(super) fn upright(self, orientation: u32) -> Self {
        let (width, height) = (self.width as usize, self.height as usize);
        // For each orientation: where in the picture the pixel at (x, y) of the upright one lies.
        let source: fn(usize, usize, usize, usize) -> (usize, usize) = match orientation {
            2 => |x, y, width, _| (width - 1 - x, y),
            3 => |x, y, width, height| (width - 1 - x, height - 1 - y),
            4 => |x, y, _, height| (x, height - 1 - y),
            5 => |x, y, _, _| (y, x),
            6 => |x, y, _, height| (y, height - 1 - x),
            7 => |x, y, width, height| (width - 1 - y, height - 1 - x),
            8 => |x, y, width, _| (width - 1 - y, x),
            _ => return self,
        };
        let (to_width, to_height) = if orientation > 4 {
            (height, width)
        } else {
            (width, height)
        };
        let mut rgb = Vec::with_capacity(self.rgb.len());
        for y in 0..to_height {
            for x in 0..to_width {
                let (x, y) = source(x, y, width, height);
                let at = (y * width + x) * CHANNELS;
                rgb.extend_from_slice(&self.rgb[at..at + CHANNELS]);
            }
        }
        let (width, height) = if orientation > 4 {
            (self.height, self.width)
        } else {
            (self.width, self.height)
        };
        Self { width, height, rgb }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of pixels in letters, rows apart by spaces.
    fn letters(picture: &Picture) -> String {
        let rows = picture.rgb.chunks(picture.width as usize * CHANNELS);
        let row = |row: &[u8]| {
            row.iter()
                .step_by(CHANNELS)
                .map(|&b| char::from(b))
                .collect()
        };
        rows.map(row).collect::<Vec<String>>().join(" ")
    }

    #[test]
    fn every_orientation_comes_upright() {
        let rgb = b"abcdef".iter().flat_map(|&letter| [letter; 3]).collect();
        let picture = Picture::new(3, 2, rgb).unwrap();
        for (orientation, upright) in [
            (0, "abc def"),
            (1, "abc def"),
            (2, "cba fed"),
            (3, "fed cba"),
            (4, "def abc"),
            (5, "ad be cf"),
            (6, "da eb fc"),
            (7, "fc eb da"),
            (8, "cf be ad"),
            (9, "abc def"),
        ] {
            assert_eq!(letters(&picture.clone().upright(orientation)), upright);
        }
    }

    #[test]
    fn pixels_are_as_many_as_the_sides_say() {
        assert!(Picture::new(2, 2, vec![0; 12]).is_ok());
        assert!(Picture::new(2, 2, vec![0; 11]).is_err());
        assert!(Picture::new(0, 2, vec![]).is_err());
    }
}
