//! Batches: what is uploaded with them, and the rows of their results.

mod coco;
mod csv;
mod failures;
mod plan;
mod render;
mod row;
mod rows;
mod stored;

pub(crate) use coco::CocoResults;
pub(crate) use failures::{Failure, Failures};
pub(crate) use plan::Parameters;
pub(crate) use render::{Format, Only, Renderer};
pub(crate) use row::Row;
pub(crate) use rows::{Lines, MAX_ROW_BYTES, RowsError, parts, split};
pub(crate) use stored::{StoredUpload, discard};
