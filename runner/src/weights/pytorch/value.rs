//! The values of a pickle, in one list, with references by index: deep nesting needs no recursion,
//! and shared values are not copied.

use super::{Fault, refuse};
use tch::Kind;

/// Upper bound on values; BLIP-base has 8,000.
const MAX_VALUES: usize = 1 << 20;

/// Upper bound on tensors; BLIP-large has 620.
const MAX_TENSORS: usize = 100_000;

/// Index of a value in [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool,
    Int(i64),
    Float,
    Text(&'a str),
    Tuple(Vec<Place>),
    List(Vec<Place>),
    Dict(Dict),
    Function(Function),
    Type(ElementType),
    Storage(Storage<'a>),
    Tensor(View<'a>),
}

/// A `dict`, or an `OrderedDict`, which may have attributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Dict {
    pub(super) items: Vec<(Place, Place)>,
    pub(super) ordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// `torch._utils._rebuild_tensor_v2`
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`
    RebuildParameter,
    /// `collections.OrderedDict`
    OrderedDict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ElementType {
    /// The type's name in `torch.<name>Storage`.
    pub(super) name: &'static str,
    pub(super) bytes: u64,
    /// The kind, if it is a floating-point type that this build loads.
    pub(super) float: Option<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    /// The entry's name below `data/`.
    pub(super) key: &'a str,
    pub(super) element: ElementType,
    pub(super) elements: u64,
}

/// A tensor as a view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    /// Index of the first element in the storage.
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Values<'a> {
    all: Vec<Value<'a>>,
    tensors: usize,
}

impl<'a> Values<'a> {
    pub(super) fn add(&mut self, value: Value<'a>) -> Result<Place, Fault> {
        self.tensors += usize::from(matches!(value, Value::Tensor(_)));
        if self.all.len() >= MAX_VALUES || self.tensors > MAX_TENSORS {
            return refuse(format!(
                "its pickle makes more than {MAX_VALUES} values or {MAX_TENSORS} tensors"
            ));
        }
        let place = Place(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        self.all.push(value);
        Ok(place)
    }

    pub(super) fn get(&self, Place(place): Place) -> &Value<'a> {
        &self.all[place as usize]
    }

    pub(super) fn get_mut(&mut self, Place(place): Place) -> &mut Value<'a> {
        &mut self.all[place as usize]
    }

    pub(super) fn text(&self, place: Place) -> Option<&'a str> {
        match self.get(place) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Value<'_> {
    /// Python's name of the type, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a bool",
            Self::Int(_) => "an int",
            Self::Float => "a float",
            Self::Text(_) => "a str",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Function(_) => "a function",
            Self::Type(_) => "a type",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}
