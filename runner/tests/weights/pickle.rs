//! Pickles, instruction by instruction.

#[derive(Clone)]
pub(crate) struct Pickle(Vec<u8>);

impl Pickle {
    pub(crate) fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    pub(crate) fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        self.raw(b"X").raw(&length).raw(text.as_bytes())
    }

    pub(crate) fn int(self, int: i64) -> Self {
        self.raw(b"\x8a\x08").raw(&int.to_le_bytes())
    }

    pub(crate) fn tuple(self, items: &[i64]) -> Self {
        let begun = self.raw(b"(");
        items
            .iter()
            .fold(begun, |pickle, &item| pickle.int(item))
            .raw(b"t")
    }

    pub(crate) fn storage(self, of: &str, key: &str, elements: i64) -> Self {
        self.raw(b"(")
            .text("storage")
            .global("torch", of)
            .text(key)
            .text("cpu")
            .int(elements)
            .raw(b"tQ")
    }

    /// A tensor over a storage `(type, key, elements)`, without the name before it.
    pub(crate) fn tensor(
        self,
        (of, key, elements): (&str, &str, i64),
        offset: i64,
        shape: &[i64],
        strides: &[i64],
    ) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"(")
            .storage(of, key, elements)
            .int(offset)
            .tuple(shape)
            .tuple(strides)
            .raw(b"\x89")
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// `{"weight": tensor}`.
pub(crate) fn state_dict(
    storage: (&str, &str, i64),
    offset: i64,
    shape: &[i64],
    strides: &[i64],
) -> Vec<u8> {
    let begun = Pickle::new().raw(b"}(").text("weight");
    begun
        .tensor(storage, offset, shape, strides)
        .raw(b"u")
        .end()
}
