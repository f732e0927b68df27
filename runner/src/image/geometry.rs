//! The size to resize to and the crop, with the arithmetic and rounding of transformers
//! (`image_transforms.py`).

use super::PictureError;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt;

/// Longest side before the crop, in pixels.
const MAX_RESIZED_SIDE: u64 = 1 << 24;

/// The value of `size` and `crop_size`: a number, a pair, or an object.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "Value")]
pub(super) enum Size {
    /// Side of a square or the shortest edge, depending on the processor.
    Number(u32),
    Exact {
        height: u32,
        width: u32,
    },
    Shortest(u32),
    Edges {
        shortest: u32,
        longest: u32,
    },
}

impl TryFrom<Value> for Size {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let pixels = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok());
        let object = |object: &Map<String, Value>| {
            let sides: Vec<(&str, u32)> = (object.iter())
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| Some((key.as_str(), pixels(value)?)))
                .collect::<Option<_>>()?;
            // Keys come in alphabetical order.
            match sides[..] {
                [("height", height), ("width", width)] => Some(Self::Exact { height, width }),
                [("shortest_edge", edge)] => Some(Self::Shortest(edge)),
                [("longest_edge", longest), ("shortest_edge", shortest)] => {
                    Some(Self::Edges { shortest, longest })
                }
                _ => None,
            }
        };
        let size = match &value {
            Value::Number(_) => pixels(&value).map(Self::Number),
            Value::Array(pair) => match &pair[..] {
                [height, width] => pixels(height)
                    .zip(pixels(width))
                    .map(|(height, width)| Self::Exact { height, width }),
                _ => None,
            },
            Value::Object(map) => object(map),
            _ => None,
        };
        size.ok_or_else(|| {
            format!(
                "{value} is no size; give a number, {{\"height\", \"width\"}}, \
                 {{\"shortest_edge\"}} or {{\"shortest_edge\", \"longest_edge\"}}"
            )
        })
    }
}

/// The size of a preprocessor's output, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputSize {
    /// Every picture has this size.
    Exact { height: u32, width: u32 },
    /// Keeps the aspect ratio: the shorter side is `shortest`, or less if the longer one would
    /// exceed `longest`.
    Edges {
        shortest: u32,
        /// A very thin picture may exceed it by some pixels.
        longest: u32,
    },
}

impl OutputSize {
    /// Whether every output has this height and width.
    pub fn is(self, size: [i64; 2]) -> bool {
        matches!(self, Self::Exact { height, width } if [height, width].map(i64::from) == size)
    }

    /// Two sides whose product bounds the number of pixels.
    pub(super) fn largest(self) -> (u32, u32) {
        match self {
            Self::Exact { height, width } => (height, width),
            // Rounding may raise a side to `shortest` by half a pixel.
            Self::Edges { shortest, longest } => {
                let twice = 2 * u64::from(shortest.min(longest));
                let over = u64::from(longest) * twice / (twice - 1).max(1);
                (
                    shortest.min(longest),
                    u32::try_from(over).unwrap_or(longest),
                )
            }
        }
    }
}

impl fmt::Display for OutputSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact { height, width } => write!(f, "{width} x {height}"),
            Self::Edges { shortest, longest } => {
                write!(f, "shortest edge {shortest}, longest edge {longest}")
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resizing {
    Exact { height: u32, width: u32 },
    Shortest(u32),
    Edges { shortest: u32, longest: u32 },
}

impl Resizing {
    /// Width and height after resizing a picture of size `from`.
    pub(super) fn size(self, from: (u32, u32)) -> Result<(u32, u32), PictureError> {
        let to = match self {
            Self::Exact { height, width } => Some((width, height)),
            Self::Shortest(edge) => with_shortest(from, edge),
            Self::Edges { shortest, longest } => Some(with_edges(from, shortest, longest)),
        };
        let (width, height) = from;
        to.filter(|to| to.0 > 0 && to.1 > 0)
            .ok_or(PictureError::TooThin { width, height })
    }
}

/// transformers' `get_resize_output_image_size`.
fn with_shortest(from: (u32, u32), edge: u32) -> Option<(u32, u32)> {
    let (short, long) = (from.0.min(from.1), from.0.max(from.1));
    let long = (u64::from(edge) * u64::from(long)).checked_div(u64::from(short))?;
    if long > MAX_RESIZED_SIDE {
        return None;
    }
    let long = u32::try_from(long).ok()?;
    Some(if from.0 <= from.1 {
        (edge, long)
    } else {
        (long, edge)
    })
}

/// transformers' `get_size_with_aspect_ratio`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "Python's int() truncates here, too; sides are in range"
)]
fn with_edges((width, height): (u32, u32), shortest: u32, longest: u32) -> (u32, u32) {
    let min = f64::from(width.min(height));
    let max = f64::from(width.max(height));
    let (mut size, mut exact) = (shortest, f64::from(shortest));
    if max / min * exact > f64::from(longest) {
        exact = f64::from(longest) * min / max;
        size = exact.round_ties_even() as u32;
    }
    if (height <= width && height == size) || (width <= height && width == size) {
        (width, height)
    } else if width < height {
        let height = exact * f64::from(height) / f64::from(width);
        (size, height as u32)
    } else {
        let width = exact * f64::from(width) / f64::from(height);
        (width as u32, size)
    }
}

/// The crop of one side: the part to keep, and the padding before it if the side is shorter than
/// the crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) length: u32,
    pub(super) padding: u32,
}

impl Span {
    pub(super) fn whole(length: u32) -> Self {
        Self {
            start: 0,
            length,
            padding: 0,
        }
    }

    /// transformers' `center_crop`, along one side.
    pub(super) fn centered(side: u32, crop: u32) -> Self {
        Self {
            start: side.saturating_sub(crop) / 2,
            length: side.min(crop),
            padding: crop.saturating_sub(side).div_ceil(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_keep_the_aspect_ratio_and_their_bounds() {
        // From transformers: get_size_with_aspect_ratio((h, w), 800, 1333), as (w, h).
        for (from, to) in [
            ((640, 480), (1066, 800)),
            ((480, 640), (800, 1066)),
            ((800, 800), (800, 800)),
            ((1000, 800), (1000, 800)),
            ((2000, 500), (1333, 333)),
            ((500, 2001), (333, 1333)),
            ((3000, 2), (1333, 1)),
            ((1, 2000), (1, 2000)),
        ] {
            assert_eq!(with_edges(from, 800, 1333), to, "{from:?}");
        }
    }

    #[test]
    fn no_aspect_ratio_exceeds_the_largest_size() {
        for (shortest, longest) in [(800, 1333), (7, 9), (2, 100), (9, 9), (9, 5), (1, 1)] {
            let (height, width) = OutputSize::Edges { shortest, longest }.largest();
            let most = u64::from(height) * u64::from(width);
            for short in 1..60 {
                for long in short..600 {
                    let to = with_edges((short, long), shortest, longest);
                    let pixels = u64::from(to.0) * u64::from(to.1);
                    assert!(pixels <= most, "{short} x {long}: {to:?}");
                }
            }
        }
    }

    #[test]
    fn a_picture_that_would_scale_to_nothing_is_refused() {
        let edges = Resizing::Edges {
            shortest: 800,
            longest: 1333,
        };
        assert!(matches!(
            edges.size((1, 5000)),
            Err(PictureError::TooThin { .. })
        ));
        assert!(matches!(
            Resizing::Shortest(256).size((1, 100_000_000)),
            Err(PictureError::TooThin { .. })
        ));
    }

    #[test]
    fn a_crop_is_centered_and_pads_a_shorter_side() {
        let span = |side, crop| {
            let span = Span::centered(side, crop);
            (span.start, span.length, span.padding)
        };
        assert_eq!(span(256, 224), (16, 224, 0));
        assert_eq!(span(257, 224), (16, 224, 0));
        assert_eq!(span(100, 224), (0, 100, 62));
        assert_eq!(span(101, 224), (0, 101, 62));
    }
}
