//! Any TorchScript module, with a manifest that describes its input and output.
//!
//! A module is a program, not data: it can loop forever, take all memory, and read what the process
//! can read. It is contained like hostile pictures: the runner holds no credential, and
//! its watchdog ends the process.

mod check;
mod labels;
mod manifest;
mod objects;
mod open;
mod output;
mod trial;

pub(super) use manifest::MANIFEST_FILE;
pub(super) use open::open;

use super::{logits_of_rows, stack};
use crate::inference::{Answer, Item, Model, ModelFault, Query};
use crate::weights::Placement;
use check::Input;
use manifest::{Batch, Dtype, Layout};
use objects::{ObjectReader, expect};
use output::{Place, describe_tensor};
use std::path::Path;
use tch::{CModule, Device, IValue, Kind, TchError, Tensor};

/// A module on its device.
#[derive(Debug)]
pub(super) struct TorchScript {
    module: CModule,
    input: Input,
    /// The module's argument, reused in every pass: see [`forward`](Self::forward).
    argument: Tensor,
    reader: Reader,
    placement: Placement,
}

/// Turns the module's output into answers.
#[derive(Debug)]
enum Reader {
    Logits { place: Place, labels: i64 },
    Objects(ObjectReader),
}

impl TorchScript {
    /// Loads the file to `device`. The weights keep their saved type.
    fn load(file: &Path, input: Input, reader: Reader, device: Device) -> Result<Self, TchError> {
        let mut module = CModule::load_on_device(file, device)?;
        module.f_set_eval()?;
        let kind = match input.dtype {
            Dtype::Float32 => Kind::Float,
            Dtype::Bfloat16 => Kind::BFloat16,
            Dtype::Float16 => Kind::Half,
        };
        Ok(Self {
            module,
            input,
            argument: Tensor::f_empty([0], (kind, device))?,
            reader,
            placement: Placement { device, kind },
        })
    }

    /// Runs one pass; the module must accept this number of items.
    fn pass(&self, items: &[Item]) -> Result<Vec<Answer>, ModelFault> {
        let pixel_values = stack(items, self.placement)?;
        let (pictures, _, height, width) = pixel_values.size4()?;
        let output = self.forward(&pixel_values)?;
        match &self.reader {
            Reader::Logits { place, labels } => {
                let logits = place.find(&output).map_err(ModelFault::Answer)?;
                expect(
                    &logits,
                    &[pictures, *labels],
                    "logits",
                    "one for each label",
                )?;
                Ok(logits_of_rows(&logits)?)
            }
            Reader::Objects(reader) => {
                let objects = reader.read(&output, pictures, (height, width))?;
                Ok(objects.into_iter().map(Answer::Objects).collect())
            }
        }
    }

    /// `pixel_values` `[batch, 3, height, width]` through the module.
    ///
    /// After an error the binding leaks the argument. So it is the same tensor in every pass; its
    /// memory is set before the pass and detached after an error.
    fn forward(&self, pixel_values: &Tensor) -> Result<IValue, ModelFault> {
        let mut argument = self.argument.shallow_clone();
        let source = match self.input.layout {
            Layout::Nchw => pixel_values.shallow_clone(),
            Layout::Nhwc => pixel_values.f_permute([0, 2, 3, 1])?.f_contiguous()?,
        };
        drop(argument.f_set_source_tensor_(&source)?);
        let given = describe_tensor(&argument);
        let input = IValue::Tensor(argument.shallow_clone());
        let output = tch::no_grad(|| self.module.forward_is(&[input]));
        output.map_err(|error| match argument.f_set_() {
            Ok(_) => ModelFault::Answer(format!(
                "given {given}, it failed: {}",
                last_line_first(&error)
            )),
            Err(error) => ModelFault::Torch(error),
        })
    }
}

impl Model for TorchScript {
    fn run(
        &self,
        items: &[Item],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Answer>, ModelFault> {
        for item in items {
            match (&item.query, &self.reader) {
                (Query::Classify { .. }, Reader::Logits { .. })
                | (Query::Detect { .. }, Reader::Objects(_)) => {}
                (other, _) => return Err(ModelFault::foreign(other)),
            }
        }
        let Batch::Fixed(count) = self.input.batch else {
            return self.pass(items);
        };
        let mut answers = Vec::with_capacity(items.len());
        for (pass, chunk) in items.chunks(count).enumerate() {
            let first = pass * count;
            if (first..first + chunk.len()).all(dropped) {
                answers.extend(chunk.iter().map(|_| Answer::Logits(Vec::new())));
                continue;
            }
            // Copies of the last picture fill the last pass.
            let mut full = chunk.to_vec();
            full.resize(count, chunk[chunk.len() - 1].clone());
            answers.extend(self.pass(&full)?.into_iter().take(chunk.len()));
        }
        Ok(answers)
    }
}

/// libtorch's error with its last line first, which is the module's own message; the lines before it
/// are the module's stack.
fn last_line_first(error: &TchError) -> String {
    let text = error.to_string();
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    match last {
        Some(last) if text.contains("Traceback of TorchScript") => format!("{last}\n{text}"),
        _ => text,
    }
}
