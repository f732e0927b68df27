//! Opens a TorchScript model's folder: the part for requests now, the module later.

use super::check::{Manifest, Reading};
use super::manifest::{ManifestFile, Preprocessing, Size};
use super::objects::ObjectReader;
use super::{Reader, TorchScript};
use crate::image::{OutputSize, Preprocessor};
use crate::inference::{Model, ModelFront, TaskHead};
use crate::models::{Loaded, ModelError, Opened, parse, refusal, settings};
use crate::tasks::{Activation, ImageClassification, ObjectDetection};
use crate::weights::Placement;
use fovea_protocol::Parameters;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read and hashed per step.
const CHUNK_BYTES: usize = 1 << 20;

/// Reads the manifest at `path` and the files it names in `dir`, except for the module.
pub(in crate::models) fn open(dir: &Path, path: &Path) -> Result<Opened, ModelError> {
    let refuse = refusal(path);
    let file: ManifestFile = parse(&read(path)?, path)?;
    let Manifest {
        file,
        preprocessing,
        labels,
        input,
        size,
        activation,
        reading,
    } = file.check().map_err(refuse)?;
    let module = dir.join(&file);
    if !module.is_file() {
        let why = format!("file is \"{file}\", which is not beside it; put the module there");
        return Err(refuse(why));
    }
    let labels = labels.read(dir).map_err(refuse)?;
    let preprocessor = preprocessor(preprocessing, dir, path)?;
    fits(size, preprocessor.size()).map_err(refuse)?;
    let cropped = preprocessor.crops();
    let (head, reader) = halves(reading, activation, labels, cropped).map_err(refuse)?;
    let query = (head.query(&Parameters::default())).map_err(|problem| refuse(problem.detail))?;
    let mut sizes = vec![preprocessor.warm_up_size()];
    if let OutputSize::Edges { .. } = preprocessor.size() {
        sizes.push(preprocessor.largest());
    }
    let front = ModelFront {
        head,
        preprocessor,
        mixed_sizes: false,
        settings: settings(dir)?,
    };
    let loader = move |placement: Placement| {
        let fault = |why: String| ModelError::Module {
            path: module.clone(),
            why,
        };
        let revision = revision(&module).map_err(|error| fault(error.to_string()))?;
        let loaded =
            TorchScript::load(&module, input, reader, placement.device).map_err(|error| {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                fault(format!(
                    "libtorch cannot load it ({first}); save it with torch.jit.save"
                ))
            })?;
        loaded
            .try_out(&sizes, &query)
            .map_err(|fault_of| fault(fault_of.to_string()))?;
        Ok(Loaded {
            model: Box::new(loaded) as Box<dyn Model>,
            revision,
        })
    };
    Ok((Arc::new(front), Box::new(loader)))
}

/// The task's part for requests, and the reader of the module's output. `cropped` means that the
/// input is a part of the picture.
fn halves(
    reading: Reading,
    activation: Activation,
    labels: Vec<Option<String>>,
    cropped: bool,
) -> Result<(Box<dyn TaskHead>, Reader), String> {
    match reading {
        Reading::Logits(place) => {
            let count = i64::try_from(labels.len()).unwrap_or(i64::MAX);
            let unnamed = |index| format!("labels has none of index {index}; name every logit");
            let labels = (labels.into_iter().enumerate())
                .map(|(index, label)| label.ok_or_else(|| unnamed(index)))
                .collect::<Result<_, _>>()?;
            let head = ImageClassification::new(labels, activation);
            let labels = count;
            Ok((Box::new(head), Reader::Logits { place, labels }))
        }
        Reading::Objects(_) if cropped => Err(
            "preprocessing crops, so that a box's place in the picture is lost; resize to the \
             whole size instead"
                .to_owned(),
        ),
        Reading::Objects(places) => {
            let known = labels.iter().map(Option::is_some).collect();
            // `known` excludes unnamed labels from results.
            let labels = labels.into_iter().map(Option::unwrap_or_default).collect();
            let reader = ObjectReader {
                places,
                activation,
                known,
            };
            Ok((
                Box::new(ObjectDetection::new(labels)),
                Reader::Objects(reader),
            ))
        }
    }
}

fn preprocessor(
    preprocessing: Preprocessing,
    dir: &Path,
    manifest: &Path,
) -> Result<Preprocessor, ModelError> {
    let (text, path) = match preprocessing {
        Preprocessing::Here(map) => (Value::Object(map).to_string(), manifest.to_owned()),
        Preprocessing::File(name) => {
            let path = dir.join(name);
            (read(&path)?, path)
        }
    };
    Ok(Preprocessor::parse(&text, &path, None)?)
}

/// Checks that the module takes preprocessing's output; an error says what to write.
fn fits(size: Option<Size>, made: OutputSize) -> Result<(), String> {
    match (size, made) {
        (Some(Size::Fixed { height, width }), made) if !made.is([height, width].map(i64::from)) => {
            Err(format!(
                "preprocessing makes {made}, which is not \"size\"; make them the same, or leave \
                 size out"
            ))
        }
        (None, OutputSize::Edges { .. }) => Err(format!(
            "preprocessing makes pictures of many sizes ({made}); write \"size\": \"dynamic\" if \
             the module takes them, or have preprocessing make one height and width"
        )),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, ModelError> {
    std::fs::read_to_string(path).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })
}

/// `sha256:<hex>` of the file.
fn revision(path: &PathBuf) -> std::io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(format!("sha256:{}", hex::encode(hasher.finalize()))),
            count => hasher.update(&chunk[..count]),
        }
    }
}
