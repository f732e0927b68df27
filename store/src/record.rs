//! Records of jobs that the operator deleted before their time. The job's name leads to its record, and
//! the key holds all that a sweep needs, so that a sweep reads no record.

use crate::key::is_uid;
use crate::list::{Owned, Part};
use crate::{InvalidKey, ObjectKey, Store, StoreError};
use bytes::Bytes;
use std::time::SystemTime;

/// Bound on a record in bytes: etcd's own on an object, which the record is a copy of.
pub const MAX_RECORD_BYTES: u64 = 2 * 1024 * 1024;

/// Whether a job of this name can have a record: only names that the API gives can, which are UUIDs.
pub fn can_have_record(job: &str) -> bool {
    is_uid(job)
}

impl Store {
    /// The record of the job that had this name, if it has not expired at `now`.
    pub async fn record(
        &self,
        namespace: &str,
        namespace_uid: &str,
        job: &str,
        now: SystemTime,
    ) -> Result<Option<Bytes>, StoreError> {
        let records = self.records(namespace, namespace_uid, job).await?;
        let valid = records.into_iter().filter(|(_, expires)| *expires > now);
        let Some((key, _)) = valid.max_by_key(|(_, expires)| *expires) else {
            return Ok(None);
        };
        // `None` if it was deleted since it was listed.
        self.get_opt(&key, MAX_RECORD_BYTES).await
    }

    /// Deletes every record of the job that had this name; whether there was one.
    pub async fn delete_records(
        &self,
        namespace: &str,
        namespace_uid: &str,
        job: &str,
    ) -> Result<bool, StoreError> {
        let records = self.records(namespace, namespace_uid, job).await?;
        for (key, _) in &records {
            self.delete(key).await?;
        }
        Ok(!records.is_empty())
    }

    /// The records of one job name, and when each expires. There is more than one only if the name was
    /// used again.
    async fn records(
        &self,
        namespace: &str,
        namespace_uid: &str,
        job: &str,
    ) -> Result<Vec<(ObjectKey, SystemTime)>, StoreError> {
        if !can_have_record(job) {
            return Ok(Vec::new());
        }
        let invalid = |error: InvalidKey| StoreError::Config(error.to_string());
        let prefix = ObjectKey::records(namespace, namespace_uid, job).map_err(invalid)?;
        let page = self.list_below(Part::Results, prefix, None).await?;
        let records = page.objects.into_iter().filter_map(|listed| {
            let (key, Owned::Record { expires, .. }) = listed.object? else {
                return None;
            };
            Some((key, expires))
        });
        Ok(records.collect())
    }
}
