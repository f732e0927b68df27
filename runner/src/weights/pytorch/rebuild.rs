//! The functions and types that a pickle may use, and the tensors they build.

use super::value::{Dict, ElementType, Function, Place, Storage, Value, Values, View};
use super::zip::Entry;
use super::{Fault, refuse};
use crate::weights::stored::{Element, Stored, elements};
use tch::Kind;

const MAX_DIMENSIONS: usize = 16;

/// Storage types by their names in `torch`, without `Storage`.
const ELEMENT_TYPES: [ElementType; 12] = [
    of("Float", 4, Some(Kind::Float)),
    of("Half", 2, Some(Kind::Half)),
    of("BFloat16", 2, Some(Kind::BFloat16)),
    of("Double", 8, None),
    of("Long", 8, None),
    of("Int", 4, None),
    of("Short", 2, None),
    of("Char", 1, None),
    of("Byte", 1, None),
    of("Bool", 1, None),
    of("ComplexFloat", 8, None),
    of("ComplexDouble", 16, None),
];

const fn of(name: &'static str, bytes: u64, float: Option<Kind>) -> ElementType {
    ElementType { name, bytes, float }
}

#[derive(Debug)]
pub(super) struct NamedTensor<'a> {
    pub(super) name: String,
    pub(super) view: View<'a>,
}

/// Resolves a name, if a pickle may use it.
pub(super) fn global<'a>(module: &str, name: &str) -> Result<Value<'a>, Fault> {
    match (module, name) {
        ("torch._utils", "_rebuild_tensor_v2") => Ok(Value::Function(Function::RebuildTensor)),
        ("torch._utils", "_rebuild_parameter") => Ok(Value::Function(Function::RebuildParameter)),
        ("collections", "OrderedDict") => Ok(Value::Function(Function::OrderedDict)),
        ("torch", storage) => storage
            .strip_suffix("Storage")
            .and_then(|name| ELEMENT_TYPES.iter().find(|element| element.name == name))
            .map(|&element| Value::Type(element))
            .ok_or_else(|| unknown(module, name)),
        _ => Err(unknown(module, name)),
    }
}

fn unknown(module: &str, name: &str) -> Fault {
    let excerpt = |text: &str| text.chars().take(80).collect::<String>();
    Fault::Refused(format!(
        "its pickle calls {:?}, which rebuilds no tensor; it may be hostile, or hold more than \
         a model's state_dict",
        format!("{}.{}", excerpt(module), excerpt(name))
    ))
}

/// Reads the only allowed persistent id: `("storage", type, key, device, elements)`.
pub(super) fn storage<'a>(values: &Values<'a>, id: Place) -> Result<Value<'a>, Fault> {
    if let Value::Tuple(parts) = values.get(id)
        && let [kind, element, key, _, elements] = parts[..]
        && values.text(kind) == Some("storage")
        && let Some(key) = values.text(key)
        && let &Value::Type(element) = values.get(element)
        && let Some(elements) = size(values, elements)
    {
        let elements = elements as u64;
        return Ok(Value::Storage(Storage {
            key,
            element,
            elements,
        }));
    }
    refuse("its pickle refers to something outside that is no storage")
}

/// `function(*arguments)`.
pub(super) fn call(
    values: &mut Values<'_>,
    function: Place,
    arguments: Place,
) -> Result<Place, Fault> {
    let &Value::Function(function) = values.get(function) else {
        let kind = values.get(function).kind();
        return refuse(format!("its pickle calls {kind}"));
    };
    let Value::Tuple(arguments) = values.get(arguments) else {
        return refuse("its pickle calls a function without a tuple of arguments");
    };
    match (function, &arguments[..]) {
        (Function::OrderedDict, []) => values.add(Value::Dict(Dict {
            items: vec![],
            ordered: true,
        })),
        // requires_grad and backward hooks are ignored.
        (Function::RebuildParameter, &[data, _, _]) => match values.get(data) {
            Value::Tensor(_) => Ok(data),
            other => refuse(format!("its pickle makes a parameter of {}", other.kind())),
        },
        (Function::RebuildTensor, &[storage, offset, shape, strides, _, _]) => {
            let view = view(values, storage, offset, [shape, strides]);
            let view = view.ok_or_else(|| {
                Fault::Refused("its pickle rebuilds a tensor from something else than a storage, an offset, sizes and strides".into())
            })?;
            values.add(Value::Tensor(view))
        }
        (function, arguments) => refuse(format!(
            "its pickle calls {function:?} with {} arguments",
            arguments.len()
        )),
    }
}

fn view<'a>(
    values: &Values<'a>,
    storage: Place,
    offset: Place,
    [shape, strides]: [Place; 2],
) -> Option<View<'a>> {
    let &Value::Storage(storage) = values.get(storage) else {
        return None;
    };
    let (shape, strides) = (sizes(values, shape)?, sizes(values, strides)?);
    (shape.len() == strides.len()).then_some(View {
        storage,
        offset: size(values, offset)? as u64,
        shape,
        strides,
    })
}

fn sizes(values: &Values<'_>, tuple: Place) -> Option<Vec<usize>> {
    match values.get(tuple) {
        Value::Tuple(items) if items.len() <= MAX_DIMENSIONS => {
            items.iter().map(|&item| size(values, item)).collect()
        }
        _ => None,
    }
}

fn size(values: &Values<'_>, place: Place) -> Option<usize> {
    match values.get(place) {
        &Value::Int(size) => usize::try_from(size).ok(),
        _ => None,
    }
}

/// `object.__dict__.update(state)`: a state dict carries its modules' versions as `_metadata`,
/// which is dropped.
pub(super) fn set_attributes(
    values: &Values<'_>,
    object: Place,
    state: Place,
) -> Result<(), Fault> {
    match (values.get(object), values.get(state)) {
        (Value::Dict(object), Value::Dict(state))
            if object.ordered
                && (state.items.iter()).all(|&(key, _)| values.text(key) == Some("_metadata")) =>
        {
            Ok(())
        }
        (other, _) => refuse(format!(
            "its pickle sets attributes of {}, which rebuilds no tensor",
            other.kind()
        )),
    }
}

pub(super) fn tensors<'a>(
    values: &Values<'a>,
    result: Place,
) -> Result<Vec<NamedTensor<'a>>, Fault> {
    let Value::Dict(Dict { items, .. }) = values.get(result) else {
        let kind = values.get(result).kind();
        return refuse(format!("it holds {kind} instead of a model's state_dict"));
    };
    let mut named = Vec::new();
    for &(key, value) in items {
        if let (Some(name), Value::Tensor(view)) = (values.text(key), values.get(value)) {
            named.push(NamedTensor {
                name: name.to_owned(),
                view: view.clone(),
            });
        }
    }
    if named.is_empty() {
        let keys: Vec<&str> = (items.iter().take(5))
            .filter_map(|&(key, _)| values.text(key))
            .collect();
        return refuse(format!(
            "it holds no tensors at its top level (but {keys:?}); save the model's state_dict alone"
        ));
    }
    Ok(named)
}

impl View<'_> {
    /// Locates the tensor in the file, given the entry of its storage.
    pub(super) fn locate(&self, entry: Option<Entry>) -> Result<Stored, Fault> {
        let Storage {
            key,
            element,
            elements: held,
        } = self.storage;
        let Some(entry) = entry else {
            return refuse(format!("lies in data/{key:?}, which is not in the archive"));
        };
        let claimed = held.checked_mul(element.bytes);
        if claimed != Some(entry.bytes) {
            return refuse(format!(
                "lies in a storage of {held} x {} bytes, where the archive has {} bytes",
                element.bytes, entry.bytes
            ));
        }
        let Some(end) = self.end() else {
            return refuse("has more elements than there can be");
        };
        if end > held {
            return refuse(format!(
                "reaches element {end} of a storage that has {held}"
            ));
        }
        Ok(Stored {
            file: 0,
            offset: entry.start + self.offset * element.bytes,
            element: match element.float {
                Some(kind) => Element::Float(kind),
                None => Element::Other(element.name.to_owned()),
            },
            shape: self.shape.clone(),
            strides: (!self.is_contiguous()).then(|| self.strides.clone()),
        })
    }

    /// Index in the storage after the tensor's last element; `None` on overflow.
    fn end(&self) -> Option<u64> {
        if elements(&self.shape)? == 0 {
            return Some(self.offset);
        }
        let mut last = self.offset;
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            last = last.checked_add((size as u64 - 1).checked_mul(stride as u64)?)?;
        }
        last.checked_add(1)
    }

    /// Whether the elements follow one another, the last dimension fastest.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        (self.shape.iter().zip(&self.strides).rev()).all(|(&size, &stride)| {
            let follows = size <= 1 || stride == expected;
            expected = size.max(1).saturating_mul(expected);
            follows
        })
    }
}
