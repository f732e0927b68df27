//! Finds tensors in a module's output, and describes the output in errors.

use serde::Deserialize;
use tch::{IValue, Kind, Tensor};

/// Upper bound on the parts that an error lists, at each level of an output.
const MAX_LISTED: usize = 8;

/// Depth to which an error describes an output.
const MAX_DEPTH: usize = 3;

/// Path to a tensor in the output, from the outside in; empty for the output itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Steps")]
pub(super) struct Place(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "an index from 0, or a key")]
enum Step {
    Index(usize),
    Key(String),
}

/// In JSON a single step needs no list.
#[derive(Deserialize)]
#[serde(untagged, expecting = "an index, a key, or a list of them")]
enum Steps {
    One(Step),
    Several(Vec<Step>),
}

impl From<Steps> for Place {
    fn from(steps: Steps) -> Self {
        match steps {
            Steps::One(step) => Self(vec![step]),
            Steps::Several(steps) => Self(steps),
        }
    }
}

impl Place {
    /// The tensor at this place; an error describes the output.
    pub(super) fn find(&self, output: &IValue) -> Result<Tensor, String> {
        let mut at = output;
        for (depth, step) in self.0.iter().enumerate() {
            let inner = match (step, at) {
                (Step::Index(index), IValue::Tuple(parts) | IValue::GenericList(parts)) => {
                    parts.get(*index)
                }
                (Step::Index(index), IValue::TensorList(tensors))
                    if depth + 1 == self.0.len() && *index < tensors.len() =>
                {
                    return Ok(tensors[*index].shallow_clone());
                }
                (Step::Key(key), IValue::GenericDict(entries)) => (entries.iter())
                    .find(|(name, _)| matches!(name, IValue::String(name) if name == key))
                    .map(|(_, value)| value),
                _ => None,
            };
            at = inner.ok_or_else(|| self.not_there(output))?;
        }
        match at {
            IValue::Tensor(tensor) => Ok(tensor.shallow_clone()),
            _ => Err(self.not_there(output)),
        }
    }

    fn not_there(&self, output: &IValue) -> String {
        let place: Vec<String> = (self.0.iter())
            .map(|step| match step {
                Step::Index(index) => index.to_string(),
                Step::Key(key) => format!("\"{key}\""),
            })
            .collect();
        let output = describe(output, MAX_DEPTH);
        if place.is_empty() {
            return format!("it gave {output}; write in \"output\" where the tensor is");
        }
        let place = place.join(", ");
        format!("it gave {output}, where no tensor is at {place}; correct \"output\"")
    }
}

fn describe(value: &IValue, depth: usize) -> String {
    if depth == 0 {
        return "..".to_owned();
    }
    let inner = |value: &IValue| describe(value, depth - 1);
    let several = |what: &str, parts: &mut dyn Iterator<Item = String>| {
        let mut listed: Vec<String> = parts.take(MAX_LISTED).collect();
        listed.extend(parts.next().map(|_| "..".to_owned()));
        format!("{what} of ({})", listed.join(", "))
    };
    match value {
        IValue::Tensor(tensor) => describe_tensor(tensor),
        IValue::Tuple(parts) => several("a tuple", &mut parts.iter().map(inner)),
        IValue::GenericList(parts) => several("a list", &mut parts.iter().map(inner)),
        IValue::TensorList(parts) => several("a list", &mut parts.iter().map(describe_tensor)),
        IValue::GenericDict(entries) => {
            let entry = |(key, value): &(IValue, IValue)| match key {
                IValue::String(key) => format!("\"{key}\": {}", inner(value)),
                _ => format!("a key that is no string: {}", inner(value)),
            };
            several("a dictionary", &mut entries.iter().map(entry))
        }
        IValue::None => "nothing".to_owned(),
        IValue::Object(_) => "an object".to_owned(),
        _ => "something that is no tensor".to_owned(),
    }
}

/// Type and shape, as in `a float32 tensor [1, 3]`.
pub(super) fn describe_tensor(tensor: &Tensor) -> String {
    let kind = match tensor.f_kind() {
        Ok(Kind::Float) => "float32".to_owned(),
        Ok(Kind::BFloat16) => "bfloat16".to_owned(),
        Ok(Kind::Half) => "float16".to_owned(),
        Ok(kind) => format!("{kind:?}").to_lowercase(),
        Err(_) => "unknown".to_owned(),
    };
    format!("a {kind} tensor {:?}", tensor.size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn tensor(size: i64) -> IValue {
        IValue::Tensor(Tensor::zeros([size], (Kind::Float, Device::Cpu)))
    }

    fn output() -> IValue {
        IValue::Tuple(vec![
            tensor(1),
            IValue::GenericDict(vec![
                (IValue::Int(7), tensor(2)),
                (IValue::String("boxes".into()), tensor(3)),
            ]),
            IValue::TensorList(vec![Tensor::zeros([4], (Kind::Int64, Device::Cpu))]),
        ])
    }

    fn find(place: &str, output: &IValue) -> Result<i64, String> {
        let place: Place = serde_json::from_str(place).map_err(|error| error.to_string())?;
        place.find(output).map(|tensor| tensor.size()[0])
    }

    #[test]
    fn a_tensor_is_found_by_index_key_or_a_list_of_them() {
        assert_eq!(find("[]", &tensor(9)), Ok(9));
        assert_eq!(find("0", &output()), Ok(1));
        assert_eq!(find("[0]", &output()), Ok(1));
        assert_eq!(find(r#"[1, "boxes"]"#, &output()), Ok(3));
        assert_eq!(find("[2, 0]", &output()), Ok(4));
    }

    #[test]
    fn a_missing_part_is_reported_with_what_the_output_has() {
        for place in [
            "3",
            r#""boxes""#,
            r#"[1, "scores"]"#,
            "[2, 1]",
            "[2, 0, 0]",
            "[]",
            "1",
        ] {
            let error = find(place, &output()).unwrap_err();
            assert!(
                error.contains("\"boxes\": a float32 tensor [3]") && error.contains("int64"),
                "{place}: {error}"
            );
        }
        assert!(find("-1", &output()).is_err());
        let many = IValue::Tuple((0..99).map(tensor).collect());
        assert!(find("\"a\"", &many).unwrap_err().len() < 500);
    }
}
