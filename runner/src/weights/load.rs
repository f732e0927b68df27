//! Reads a tensor from a file to the device.

use super::file::DataFile;
use super::stored::{Stored, elements};
use super::{Placement, WeightsError};
use tch::{Device, Kind, TchError, Tensor};

/// A view is read with the elements it skips: at most this many times its own size.
const MAX_SPAN_OVER_ELEMENTS: usize = 8;

/// glibc gives an allocation of over 32 MiB pages of its own, and takes them back when it is freed.
/// Smaller ones come from a heap, where what is freed leaves gaps between what stays.
const OWN_PAGES_BYTES: usize = 33 * 1024 * 1024;

/// Reads the tensor, whose elements are `stored_kind`, converting it to the placement's type.
pub(super) fn load(
    file: &DataFile,
    stored: &Stored,
    stored_kind: Kind,
    placement: Placement,
    name: &str,
) -> Result<Tensor, WeightsError> {
    let device_error = |source| WeightsError::Device {
        name: name.to_owned(),
        source,
    };
    let length = i64::try_from(length(stored, name)?).unwrap_or(i64::MAX);
    let flat = Tensor::f_empty(length, (placement.kind, placement.device)).map_err(device_error)?;
    fill(&flat, file, stored, stored_kind, name)?;
    shaped(&flat, stored).map_err(device_error)
}

/// Reads the tensor into `target`, which has as many elements and is contiguous.
pub(super) fn load_into(
    target: &Tensor,
    file: &DataFile,
    stored: &Stored,
    stored_kind: Kind,
    name: &str,
) -> Result<(), WeightsError> {
    let device_error = |source| WeightsError::Device {
        name: name.to_owned(),
        source,
    };
    if stored.strides.is_none() {
        let flat = target.f_view([-1]).map_err(device_error)?;
        return fill(&flat, file, stored, stored_kind, name);
    }
    let placement = Placement {
        device: target.device(),
        kind: target.kind(),
    };
    let tensor = load(file, stored, stored_kind, placement, name)?;
    let copied = (target.f_view_as(&tensor)).and_then(|mut target| target.f_copy_(&tensor));
    copied.map(drop).map_err(device_error)
}

/// Room for a tensor of this shape that is soon freed; on the CPU in pages of its own, of which
/// those that are not written to take no memory.
pub(crate) fn short_lived(shape: &[i64], placement: Placement) -> Result<Tensor, TchError> {
    let Placement { kind, device } = placement;
    let least = match device {
        Device::Cpu => OWN_PAGES_BYTES / kind.elt_size_in_bytes(),
        _ => 0,
    };
    let count = shape.iter().product::<i64>();
    Tensor::f_empty(count.max(i64::try_from(least).unwrap_or(0)), (kind, device))?
        .f_narrow(0, 0, count)?
        .f_view(shape)
}

/// Number of elements to read for a tensor.
fn length(stored: &Stored, name: &str) -> Result<usize, WeightsError> {
    let too_large = || WeightsError::Type {
        name: name.to_owned(),
        found: "more elements than there can be".to_owned(),
    };
    let count = elements(&stored.shape).ok_or_else(too_large)?;
    let span = match &stored.strides {
        Some(strides) if count > 0 => span(&stored.shape, strides).ok_or_else(too_large)?,
        _ => count,
    };
    if span > count.saturating_mul(MAX_SPAN_OVER_ELEMENTS) {
        return Err(WeightsError::SparseView {
            name: name.to_owned(),
            elements: count,
            span,
        });
    }
    i64::try_from(span).map_err(|_| too_large())?;
    Ok(span)
}

/// Reads the tensor's span into `flat`, which has its length.
fn fill(
    flat: &Tensor,
    file: &DataFile,
    stored: &Stored,
    stored_kind: Kind,
    name: &str,
) -> Result<(), WeightsError> {
    let bytes = length(stored, name)? as u64 * stored_kind.elt_size_in_bytes() as u64;
    let mut place = Ok(0);
    file.chunks(stored.offset, bytes, |chunk| {
        if let Ok(at) = place {
            place = copy_chunk(flat, at, chunk, stored_kind);
        }
    })?;
    place.map(drop).map_err(|source| WeightsError::Device {
        name: name.to_owned(),
        source,
    })
}

/// Number of elements from a view's first to its last, inclusive.
fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    let mut reaches = shape.iter().zip(strides);
    reaches.try_fold(1usize, |span, (&size, &stride)| {
        span.checked_add(size.checked_sub(1)?.checked_mul(stride)?)
    })
}

/// Writes the elements in `chunk` to `flat` from element `place` on; returns the next place.
fn copy_chunk(flat: &Tensor, place: i64, chunk: &[u8], stored: Kind) -> Result<i64, TchError> {
    let count = i64::try_from(chunk.len() / stored.elt_size_in_bytes()).unwrap_or(i64::MAX);
    let chunk = Tensor::f_from_data_size(chunk, &[count], stored)?;
    flat.f_narrow(0, place, count)?.f_copy_(&chunk)?;
    Ok(place + count)
}

/// Shapes `flat` as the tensor.
fn shaped(flat: &Tensor, stored: &Stored) -> Result<Tensor, TchError> {
    let shape = signed(&stored.shape);
    match &stored.strides {
        Some(strides) if flat.size1()? > 0 => flat
            .f_as_strided(&shape, signed(strides), 0)?
            .f_contiguous(),
        _ => flat.f_reshape(&shape),
    }
}

pub(super) fn signed(sizes: &[usize]) -> Vec<i64> {
    sizes
        .iter()
        .map(|&size| i64::try_from(size).unwrap_or(i64::MAX))
        .collect()
}
