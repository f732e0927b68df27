//! The object stores that Fovea is tested on, and how each comes onto the machine.

use crate::cache::Cache;
use crate::go::{self, GoTools};
use crate::{SetupError, ceph, maven, moto, versions};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectStore {
    Minio,
    VersityGw,
    SeaweedFs,
    CephRgw,
    S3Proxy,
    S3Mock,
    Moto,
}

impl ObjectStore {
    pub const ALL: [Self; 7] = [
        Self::Minio,
        Self::VersityGw,
        Self::SeaweedFs,
        Self::CephRgw,
        Self::S3Proxy,
        Self::S3Mock,
        Self::Moto,
    ];

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Minio => "MinIO",
            Self::VersityGw => "VersityGW",
            Self::SeaweedFs => "SeaweedFS",
            Self::CephRgw => "Ceph RGW",
            Self::S3Proxy => "S3Proxy",
            Self::S3Mock => "S3Mock",
            Self::Moto => "moto",
        }
    }

    /// Its name in `STORES` of `make test-stores`, which is also that of its part of the setup.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minio => "minio",
            Self::VersityGw => "versitygw",
            Self::SeaweedFs => "seaweedfs",
            Self::CephRgw => "ceph-rgw",
            Self::S3Proxy => "s3proxy",
            Self::S3Mock => "s3mock",
            Self::Moto => "moto",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|store| store.name() == name)
    }

    pub fn version(self) -> &'static str {
        match self {
            // The day of its last release: what is built is the last commit of its archived repository.
            Self::Minio => "2026-02-12, the last",
            Self::VersityGw => versions::VERSITYGW.trim_start_matches('v'),
            Self::SeaweedFs => versions::SEAWEEDFS_RELEASE,
            Self::CephRgw => versions::CEPH,
            Self::S3Proxy => versions::S3PROXY,
            Self::S3Mock => versions::S3MOCK,
            Self::Moto => versions::MOTO,
        }
    }

    /// The Go program that it is.
    pub(crate) fn go_tools(self) -> Option<GoTools> {
        match self {
            Self::Minio => Some(go::MINIO),
            Self::VersityGw => Some(go::VERSITYGW),
            Self::SeaweedFs => Some(go::SEAWEEDFS),
            Self::CephRgw | Self::S3Proxy | Self::S3Mock | Self::Moto => None,
        }
    }

    /// Fetches one that is no Go program.
    pub(crate) fn fetch(self, cache: &Cache) -> Result<(), SetupError> {
        let fetched = match self {
            Self::Minio | Self::VersityGw | Self::SeaweedFs => return Ok(()),
            Self::CephRgw => ceph::ensure(cache),
            Self::S3Proxy => maven::S3PROXY.ensure(cache),
            Self::S3Mock => maven::S3MOCK.ensure(cache),
            Self::Moto => moto::ensure(cache),
        };
        fetched.map(drop)
    }

    /// The folder of the jars of one that runs on Java.
    pub fn jars(self, cache: &Cache) -> Option<std::path::PathBuf> {
        let jars = match self {
            Self::S3Proxy => maven::S3PROXY,
            Self::S3Mock => maven::S3MOCK,
            _ => return None,
        };
        Some(cache.path(&jars.entry()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Part;

    #[test]
    fn every_store_but_minio_is_a_part_by_its_own_name() {
        for store in ObjectStore::ALL {
            assert_eq!(ObjectStore::named(store.name()), Some(store));
            let mut parts = Part::ALL.iter();
            let part = parts.find(|(part, ..)| *part == Part::Store(store));
            let name = part.map(|(_, name, _)| *name);
            // MinIO is one of the tools, which the demo needs.
            let expected = (store != ObjectStore::Minio).then(|| store.name());
            assert_eq!(name, expected);
        }
    }
}
