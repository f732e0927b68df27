//! What is known not to work on a store, and what to set for it.

use crate::checks::Check;
use crate::survey::Fault;
use fovea_harness::ObjectStore;

/// Checks that fail on a store, each with the reason that the docs give.
pub(crate) fn faults(store: ObjectStore) -> &'static [(Check, &'static str)] {
    match store {
        ObjectStore::VersityGw | ObjectStore::SeaweedFs | ObjectStore::S3Proxy => &[(
            Check::LongNames,
            "refused, as its files' names end at 255 bytes",
        )],
        ObjectStore::S3Mock | ObjectStore::Moto => &[(Check::WrongKey, "it accepts any key")],
        ObjectStore::Minio | ObjectStore::CephRgw => &[],
    }
}

/// What the docs say to set for a store.
pub(crate) fn settings(store: ObjectStore) -> &'static str {
    match store {
        ObjectStore::Minio | ObjectStore::VersityGw => "nothing",
        ObjectStore::SeaweedFs => "nothing; for the server itself `-master.telemetry=false`",
        ObjectStore::CephRgw => "nothing; keep path style",
        ObjectStore::S3Proxy => "for the server `s3proxy.authorization=aws-v2-or-v4`",
        ObjectStore::S3Mock | ObjectStore::Moto => "nothing; for tests only, any key is accepted",
    }
}

/// What differs from what is known, in either direction.
pub(crate) fn unexpected(store: ObjectStore, found: &[Fault]) -> Vec<String> {
    let known = faults(store);
    let new = found
        .iter()
        .filter(|fault| !known.iter().any(|(check, _)| *check == fault.check));
    let new =
        new.map(|Fault { check, error }| format!("{}: {}: {error}", store.title(), check.title()));
    let mended = known
        .iter()
        .filter(|(check, _)| !found.iter().any(|fault| fault.check == *check));
    let mended = mended.map(|(check, _)| {
        format!(
            "{}: {} works: tests/stores/known.rs says it doesn't",
            store.title(),
            check.title()
        )
    });
    new.chain(mended).collect()
}
