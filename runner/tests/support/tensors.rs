//! A checkpoint's tensors as a map that a test can change.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// Name, type, shape and bytes of every tensor.
pub(crate) type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// All of a checkpoint's folder.
pub(crate) fn read_tensors(dir: &Path) -> Tensors {
    let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
    SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, view)| {
            let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), tensor)
        })
        .collect()
}

/// Writes them as a checkpoint's folder has them.
pub(crate) fn write_tensors(tensors: &Tensors, dir: &Path) {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
}

/// Multiplies every number of a 32-bit tensor.
pub(crate) fn scale(tensors: &mut Tensors, name: &str, factor: f32) {
    let (_, _, data) = tensors.get_mut(name).unwrap();
    for bytes in data.chunks_exact_mut(4) {
        let number = f32::from_le_bytes(bytes.try_into().unwrap());
        bytes.copy_from_slice(&(number * factor).to_le_bytes());
    }
}
