//! A condition's reason and message.

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) reason: &'static str,
    /// A sentence for people, which says what to do where something has to be done.
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
