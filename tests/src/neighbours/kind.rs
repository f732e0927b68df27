//! The kinds of resources that a tenant can take, and how much of each one does.

use super::tally::Toll;
use std::fmt;

/// Largest page of a list.
pub(super) const PAGE: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Many small jobs.
    Jobs,
    /// As many finished jobs as all namespaces may have.
    Finished,
    /// Uploads that stop before their end, with their bytes in the API's memory.
    BytesUp,
    /// Downloads that are hardly read.
    BytesDown,
    /// Event streams of a job that never changes.
    Streams,
    /// Waits for the same.
    Waits,
    /// Deletes of own jobs.
    Deletes,
    /// Lists of large pages.
    Lists,
    /// Lists of long results that are hardly read.
    SlowLists,
    /// Small files with the most pixels allowed.
    LargePictures,
    /// Captions with the most beams allowed.
    Beams,
    /// Callbacks to receivers that do not answer or refuse connections.
    Callbacks,
    /// Jobs that each deserve an Event.
    Events,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// For a test: the limits are scaled down, too.
    Small,
    /// For the benchmark: the limits are the defaults, but for the number of finished jobs.
    Full,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Concurrent requests.
    pub(super) connections: usize,
    /// Jobs: those that exist before the quiet tenant begins, or the most that are submitted.
    pub(super) jobs: usize,
}

impl Kind {
    pub const ALL: [Self; 13] = [
        Self::Jobs,
        Self::Finished,
        Self::BytesUp,
        Self::BytesDown,
        Self::Streams,
        Self::Waits,
        Self::Deletes,
        Self::Lists,
        Self::SlowLists,
        Self::LargePictures,
        Self::Beams,
        Self::Callbacks,
        Self::Events,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Finished => "finished",
            Self::BytesUp => "bytes-up",
            Self::BytesDown => "bytes-down",
            Self::Streams => "streams",
            Self::Waits => "waits",
            Self::Deletes => "deletes",
            Self::Lists => "lists",
            Self::SlowLists => "slow-lists",
            Self::LargePictures => "large-pictures",
            Self::Beams => "beams",
            Self::Callbacks => "callbacks",
            Self::Events => "events",
        }
    }

    pub(super) fn load(self, size: Size) -> Load {
        let (connections, jobs) = match (self, size) {
            (Self::Jobs, Size::Small) => (4, 100),
            (Self::Jobs, Size::Full) => (16, 2000),
            (Self::Finished, Size::Small) => (1, 150),
            (Self::Finished, Size::Full) => (1, 2200),
            (Self::BytesUp, Size::Small) => (12, 0),
            (Self::BytesUp, Size::Full) => (30, 0),
            (Self::BytesDown, Size::Small) => (24, 1),
            (Self::BytesDown, Size::Full) => (300, 1),
            (Self::Streams | Self::Waits, Size::Small) => (80, 1),
            (Self::Streams | Self::Waits, Size::Full) => (1100, 1),
            (Self::Deletes, Size::Small) => (8, 100),
            (Self::Deletes, Size::Full) => (40, 1500),
            (Self::Lists, Size::Small) => (8, 30),
            (Self::Lists, Size::Full) => (40, PAGE),
            (Self::SlowLists, Size::Small) => (120, 60),
            (Self::SlowLists, Size::Full) => (300, PAGE),
            (Self::LargePictures, Size::Small) => (2, 40),
            (Self::LargePictures, Size::Full) => (4, 400),
            (Self::Beams, Size::Small) => (4, 200),
            (Self::Beams, Size::Full) => (8, 2000),
            (Self::Callbacks, Size::Small) => (0, 60),
            (Self::Callbacks, Size::Full) => (0, 400),
            (Self::Events, Size::Small) => (2, 150),
            (Self::Events, Size::Full) => (2, 300),
        };
        Load { connections, jobs }
    }

    /// Whether a hostile tenant with this toll has its resource: it holds some of it, or was refused more.
    pub fn occupies(self, toll: &Toll) -> bool {
        let Toll {
            held,
            accepted,
            refused,
        } = *toll;
        match self {
            Self::BytesUp | Self::BytesDown | Self::Streams | Self::Waits | Self::Callbacks => {
                held > 0
            }
            // All that it gets: no single list is much.
            Self::SlowLists => held > 0 && refused > 0,
            Self::Deletes | Self::Lists => accepted > 0,
            Self::Finished => refused > 0,
            Self::Jobs | Self::LargePictures | Self::Beams | Self::Events => {
                held > 0 || refused > 0
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
