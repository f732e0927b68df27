//! Conversion of stored samples to RGB, rounded as Pillow's unpackers and converters do.

/// Colours by index. As in Pillow, indices that a file's palette lacks are a grey ramp.
pub(super) struct Palette([[u8; 3]; 256]);

impl Palette {
    /// Reads red, green and blue of one colour after the other.
    pub(super) fn rgb(bytes: &[u8]) -> Self {
        Self::of(bytes.chunks_exact(3).map(|c| [c[0], c[1], c[2]]))
    }

    /// Takes up to 256 colours.
    pub(super) fn of(colours: impl Iterator<Item = [u8; 3]>) -> Self {
        let mut palette = Self::gray();
        for (place, colour) in palette.0.iter_mut().zip(colours) {
            *place = colour;
        }
        palette
    }

    /// The palette that maps each index to that level of grey.
    pub(super) fn gray() -> Self {
        Self(std::array::from_fn(|level| {
            [u8::try_from(level).unwrap_or(u8::MAX); 3]
        }))
    }

    pub(super) fn colour(&self, index: u8) -> [u8; 3] {
        self.0[usize::from(index)]
    }
}

/// The values of `bits` (1, 2, 4 or 8) in packed bytes, the highest bits first.
pub(super) fn unpack(packed: &[u8], bits: u8) -> impl Iterator<Item = u8> + '_ {
    let per_byte = 8 / bits;
    let mask = u8::MAX >> (8 - bits);
    packed
        .iter()
        .flat_map(move |&byte| (1..=per_byte).map(move |place| (byte >> (8 - place * bits)) & mask))
}

/// The factor that scales values of `bits` (1, 2, 4 or 8) to levels up to 255.
pub(super) fn scale_of(bits: u8) -> u8 {
    u8::MAX / (u8::MAX >> (8 - bits))
}

/// Converts cyan, magenta, yellow and black to RGB; 0 is no ink.
pub(super) fn cmyk([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let white = u32::from(255 - black);
    // Pillow's MULDIV255.
    let ink = |ink: u8| {
        let product = u32::from(ink) * white + 128;
        ((product >> 8) + product) >> 8
    };
    [cyan, magenta, yellow]
        .map(|level| u8::try_from(white.saturating_sub(ink(level))).unwrap_or(u8::MAX))
}

/// Undoes the multiplication of a colour by its alpha.
pub(super) fn unmultiplied([red, green, blue, alpha]: [u8; 4]) -> [u8; 3] {
    let colour = [red, green, blue];
    match alpha {
        0 => [0; 3],
        255 => colour,
        alpha => {
            let alpha = u16::from(alpha);
            colour.map(|level| u8::try_from(u16::from(level) * 255 / alpha).unwrap_or(u8::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_values_come_out_from_the_highest_bits_on() {
        let unpacked = |bits| unpack(&[0b1001_0011], bits).collect::<Vec<_>>();
        assert_eq!(unpacked(1), [1, 0, 0, 1, 0, 0, 1, 1]);
        assert_eq!(unpacked(2), [2, 1, 0, 3]);
        assert_eq!(unpacked(4), [9, 3]);
        assert_eq!(unpacked(8), [0x93]);
        assert_eq!([1, 2, 4, 8].map(scale_of), [255, 85, 17, 1]);
    }

    #[test]
    fn ink_takes_light_away() {
        assert_eq!(cmyk([0, 0, 0, 0]), [255; 3]);
        assert_eq!(cmyk([0, 0, 0, 255]), [0; 3]);
        assert_eq!(cmyk([255, 0, 128, 0]), [0, 255, 127]);
        assert_eq!(cmyk([255, 128, 0, 128]), [0, 63, 127]);
    }
}
