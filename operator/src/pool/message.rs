//! A condition's reason and message.

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) reason: &'static str,
    /// A sentence for users, with the fix if one is needed.
    pub(crate) message: String,
}

impl Message {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
