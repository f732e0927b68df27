//! The text decoder's keys and values between its steps.

use tch::{TchError, Tensor};

/// Keys and values of the pictures, computed once, and of the tokens so far, written into
/// buffers that were laid out once. A picture has one row of tokens, or several: its beams.
#[derive(Debug)]
pub struct KeyValueCache {
    pub(super) layers: Vec<LayerCache>,
    pub(super) length: i64,
}

/// Keys, then values, of one layer.
#[derive(Debug)]
pub(super) struct LayerCache {
    /// `[2, rows, heads, capacity, size]`.
    pub(super) text: Tensor,
    /// `[2, pictures, heads, positions, size]`.
    pub(super) picture: Tensor,
}

impl LayerCache {
    /// Writes keys and values `[2, rows, heads, length, size]` of new tokens at the place
    /// `start`; gives all up to there.
    pub(super) fn append(&self, new: &Tensor, start: i64) -> Result<(Tensor, Tensor), TchError> {
        let length = new.size()[3];
        self.text.f_narrow(3, start, length)?.f_copy_(new)?;
        let text = self.text.f_narrow(3, 0, start + length)?;
        Ok((text.f_select(0, 0)?, text.f_select(0, 1)?))
    }

    pub(super) fn picture(&self) -> Result<(Tensor, Tensor), TchError> {
        Ok((self.picture.f_select(0, 0)?, self.picture.f_select(0, 1)?))
    }
}

impl KeyValueCache {
    /// Puts the rows of tokens `rows`, by their present places, in place of all; a row may come
    /// several times. They must be as many for each picture.
    pub fn select_rows(&mut self, rows: &Tensor) -> Result<(), TchError> {
        for layer in &mut self.layers {
            layer.text = layer.text.f_index_select(1, rows)?;
        }
        Ok(())
    }

    /// Keeps the pictures `pictures`, by their present places, and not their rows of tokens,
    /// which are to be selected as well.
    pub fn select_pictures(&mut self, pictures: &Tensor) -> Result<(), TchError> {
        for layer in &mut self.layers {
            layer.picture = layer.picture.f_index_select(1, pictures)?;
        }
        Ok(())
    }
}
