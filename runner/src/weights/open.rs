//! Finds the files of a checkpoint's weights and loads single tensors from them.

use super::file::DataFile;
use super::load::{load, load_into, short_lived, signed};
use super::stored::{Element, Stored};
use super::{Placement, Scope, TensorList, WeightsError, pytorch, safetensors, shards};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tch::{Kind, Tensor};

/// All tensors in one file.
pub const SAFETENSORS_FILE: &str = "model.safetensors";
/// Which tensor lies in which of several files.
pub const SAFETENSORS_INDEX_FILE: &str = "model.safetensors.index.json";
/// What PyTorch's own `torch.save` wrote.
pub const PYTORCH_FILE: &str = "pytorch_model.bin";

/// A checkpoint's tensors. Names, shapes and offsets are read at once, data when a model needs it.
#[derive(Debug)]
pub struct Weights {
    /// The path that errors name.
    path: PathBuf,
    /// `None` for a mere list of tensors.
    files: Vec<DataFile>,
    tensors: BTreeMap<String, Stored>,
    placement: Placement,
    read: Mutex<BTreeSet<String>>,
}

impl Weights {
    /// Opens the weights in a checkpoint's folder: `model.safetensors`, else the shards that
    /// `model.safetensors.index.json` names, else `pytorch_model.bin`.
    pub fn open(dir: &Path, placement: Placement) -> Result<Self, WeightsError> {
        let found = |name: &str| Some(dir.join(name)).filter(|path| path.exists());
        if let Some(path) = found(SAFETENSORS_FILE) {
            let file = DataFile::open(&path)?;
            let tensors = safetensors::read(&file)?;
            Ok(Self::new(path, vec![file], tensors, placement))
        } else if let Some(path) = found(SAFETENSORS_INDEX_FILE) {
            let (files, tensors) = shards::read(&path)?;
            Ok(Self::new(path, files, tensors, placement))
        } else if let Some(path) = found(PYTORCH_FILE) {
            let file = DataFile::open(&path)?;
            let tensors = pytorch::read(&file)?;
            Ok(Self::new(path, vec![file], tensors, placement))
        } else {
            Err(WeightsError::NoWeights {
                dir: dir.to_owned(),
            })
        }
    }

    /// Zero tensors with the names and shapes of `list`, to check which tensors a model loads without
    /// its checkpoint. They share one element each, so they need no memory.
    pub fn listed(list: &TensorList, placement: Placement) -> Self {
        Self::new(list.path().to_owned(), vec![], list.stored(), placement)
    }

    fn new(
        path: PathBuf,
        files: Vec<DataFile>,
        tensors: impl IntoIterator<Item = (String, Stored)>,
        placement: Placement,
    ) -> Self {
        Self {
            path,
            files,
            tensors: tensors.into_iter().collect(),
            placement,
            read: Mutex::default(),
        }
    }

    /// `sha256:<hex>` of the weights file; of several, that of the lines `<name> <sha256>`.
    pub fn revision(&self) -> Result<String, WeightsError> {
        let mut digests = Vec::new();
        for file in &self.files {
            let mut hasher = Sha256::new();
            file.chunks(0, file.bytes(), |chunk| hasher.update(chunk))?;
            digests.push((file, hex::encode(hasher.finalize())));
        }
        let digest = match &digests[..] {
            [(_, digest)] => digest.clone(),
            several => {
                let lines = several.iter().map(|(file, digest)| {
                    format!("{} {digest}\n", super::stored::file_name(file.path()))
                });
                hex::encode(Sha256::digest(lines.collect::<String>()))
            }
        };
        Ok(format!("sha256:{digest}"))
    }

    /// The names below `prefix`, as the file has them.
    pub fn at(&self, prefix: &str) -> Scope<'_> {
        Scope::new(self, prefix)
    }

    /// The tensors that have not been read so far. Where a model is loaded, these are buffers that
    /// follow from its configuration, or parts that its task does not use.
    pub fn unused(&self) -> Vec<String> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.tensors.keys();
        names
            .filter(|name| !read.contains(*name))
            .cloned()
            .collect()
    }

    /// Whether there is a tensor of this full name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor of this full name, which must have this shape, as the placement wants it.
    pub(super) fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor, WeightsError> {
        let (stored, kind) = self.find(name, shape)?;
        let tensor = match self.files.get(stored.file) {
            Some(file) => load(file, stored, kind, self.placement, name)?,
            None => self.blank(name, shape)?,
        };
        self.read(name);
        Ok(tensor)
    }

    /// The tensors of these full names, each of which must have this shape, as one along the
    /// first dimension. It is to be freed soon.
    pub(super) fn joined(&self, names: &[String], shape: &[i64]) -> Result<Tensor, WeightsError> {
        let (Some(name), Some(&rows)) = (names.first(), shape.first()) else {
            return self.blank("no tensor", &[0]);
        };
        let mut joined_shape = shape.to_vec();
        joined_shape[0] = rows.saturating_mul(i64::try_from(names.len()).unwrap_or(i64::MAX));
        let device_error = |source| WeightsError::Device {
            name: name.to_owned(),
            source,
        };
        let joined = if self.files.is_empty() {
            self.blank(name, &joined_shape)?
        } else {
            short_lived(&joined_shape, self.placement).map_err(device_error)?
        };
        for (place, name) in (0i64..).zip(names) {
            let (stored, kind) = self.find(name, shape)?;
            if let Some(file) = self.files.get(stored.file) {
                let target = joined
                    .f_narrow(0, place * rows, rows)
                    .map_err(device_error)?;
                load_into(&target, file, stored, kind, name)?;
            }
            self.read(name);
        }
        Ok(joined)
    }

    /// Location and element type of a tensor, which must have this shape.
    fn find(&self, name: &str, shape: &[i64]) -> Result<(&Stored, Kind), WeightsError> {
        let stored = (self.tensors.get(name)).ok_or_else(|| WeightsError::Missing {
            name: name.to_owned(),
            path: self.path.clone(),
        })?;
        if signed(&stored.shape) != shape {
            return Err(WeightsError::Shape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: stored.shape.clone(),
            });
        }
        match &stored.element {
            Element::Float(kind) => Ok((stored, *kind)),
            Element::Other(found) => Err(WeightsError::Type {
                name: name.to_owned(),
                found: found.clone(),
            }),
        }
    }

    /// Marks a tensor as read.
    fn read(&self, name: &str) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(name.to_owned());
    }

    /// Zeros of this shape that share one element.
    fn blank(&self, name: &str, shape: &[i64]) -> Result<Tensor, WeightsError> {
        let Placement { kind, device } = self.placement;
        Tensor::f_zeros(vec![1; shape.len()], (kind, device))
            .and_then(|zero| zero.f_expand(shape, false))
            .map_err(|source| WeightsError::Device {
                name: name.to_owned(),
                source,
            })
    }
}
