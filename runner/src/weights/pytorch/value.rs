//! What a pickle builds. Values lie in one list and refer to one another by their place in it: no
//! nesting, however deep, costs a stack frame, and a value that is used twice is not copied.

use super::{Fault, refuse};
use tch::Kind;

/// More values than any checkpoint needs: BLIP-base makes 8,000.
const MAX_VALUES: usize = 1 << 20;

/// More tensors than any checkpoint of these families has: BLIP-large has 620.
const MAX_TENSORS: usize = 100_000;

/// Index of a value in [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// One value; texts are slices of the pickle.
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

/// A `dict`, in its order, or an `OrderedDict`, which may carry attributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Dict {
    pub(super) items: Vec<(Place, Place)>,
    pub(super) ordered: bool,
}

/// All that a pickle may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// `torch._utils._rebuild_tensor_v2`
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`
    RebuildParameter,
    /// `collections.OrderedDict`
    OrderedDict,
}

/// The type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ElementType {
    /// As in `torch.<name>Storage`.
    pub(super) name: &'static str,
    /// Bytes per element.
    pub(super) bytes: u64,
    /// Where it is a floating-point type that this build loads.
    pub(super) float: Option<Kind>,
}

/// Numbers in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    /// The entry's name below `data/`.
    pub(super) key: &'a str,
    pub(super) element: ElementType,
    /// Number of elements.
    pub(super) elements: u64,
}

/// A tensor: some of the elements of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    /// Index of the first element in the storage.
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// Every value of a pickle.
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
    /// Python's word for it.
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
