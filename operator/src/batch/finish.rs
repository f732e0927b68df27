//! stub
use super::plan::{Batch, Plan};
use fovea_crds::{BatchOutput, Failure};
use fovea_store::{PartMetadata, PartName, Store, StoreError};
pub(crate) async fn finish(
    _: &Store,
    _: Batch<'_>,
    _: &Plan,
    _: &[(PartName, PartMetadata)],
    _: bool,
) -> Result<BatchOutput, StoreError> {
    unimplemented!()
}
pub(crate) async fn probe(_: &Store, _: &str) -> Result<Result<(), Failure>, StoreError> {
    unimplemented!()
}
