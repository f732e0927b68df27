//! The certificate authorities that runners and imports trust: those of the operator's files, which it passes on.

use super::message::Message;
use fovea_store::{Sha256, Store};
use fovea_trust::{Authorities, AuthoritiesError, Bundle};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Interval at which the files are checked for changes.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The files.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustFiles {
    store: Option<Arc<Authorities>>,
    hub: Option<Arc<Authorities>>,
}

/// What the files have now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trusted {
    pub(crate) store: Option<Bundle>,
    pub(crate) hub: Option<Bundle>,
    /// Files that could be used at the start, and cannot be used now.
    pub(crate) faults: Vec<Message>,
}

impl TrustFiles {
    /// `hub`: --hub-ca-file; the store's file is open already.
    pub(crate) fn open(store: &Store, hub: Option<&Path>) -> Result<Self, AuthoritiesError> {
        let hub = hub.map(Authorities::open).transpose()?;
        Ok(Self {
            store: store.authorities().cloned(),
            hub: hub.map(Arc::new),
        })
    }

    pub(super) fn now(&self) -> Trusted {
        let Self { store, hub } = self;
        let bundle = |file: &Option<Arc<Authorities>>| file.as_ref().map(|file| file.bundle());
        let fault = |(flag, file): (&str, &Option<Arc<Authorities>>)| {
            let why = file.as_ref()?.fault()?;
            let message = format!("{flag} {why}; the certificates that it had before stay in use");
            Some(Message::new("AuthoritiesUnusable", message))
        };
        let flags = [("--s3-ca-file", store), ("--hub-ca-file", hub)];
        Trusted {
            store: bundle(store),
            hub: bundle(hub),
            faults: flags.into_iter().filter_map(fault).collect(),
        }
    }
}

impl Trusted {
    /// Digest of the certificates; `None` if there are none.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        let Self {
            store,
            hub,
            faults: _,
        } = self;
        (store.is_some() || hub.is_some()).then(|| {
            let pem = |bundle: &Option<Bundle>| bundle.as_ref().map_or("", Bundle::pem).to_owned();
            let text = [pem(store), pem(hub)].join("hub\n");
            Sha256::of(text.as_bytes()).to_string()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_became_unusable_is_a_fault_and_its_certificates_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        let files = TrustFiles {
            store: None,
            hub: Some(Arc::new(Authorities::open(&path).unwrap())),
        };
        let before = files.now();
        assert_eq!((before.store.is_none(), &*before.faults), (true, &[][..]));
        std::fs::write(&path, "half a certi").unwrap();
        let after = files.now();
        assert_eq!(after.hub, before.hub);
        assert_eq!(after.fingerprint(), before.fingerprint());
        let Message { reason, message } = &after.faults[0];
        assert_eq!(*reason, "AuthoritiesUnusable");
        assert!(message.starts_with("--hub-ca-file "), "{message}");
    }

    #[test]
    fn other_certificates_and_another_place_have_another_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, made.cert.pem()).unwrap();
            Some(Bundle::read(&path).unwrap())
        };
        let of = |store: &Option<Bundle>, hub: &Option<Bundle>| {
            let (store, hub) = (store.clone(), hub.clone());
            Trusted {
                store,
                hub,
                faults: Vec::new(),
            }
            .fingerprint()
        };
        let (one, other) = (bundle("one"), bundle("other"));
        assert_eq!(of(&None, &None), None);
        let all = [
            of(&one, &None),
            of(&other, &None),
            of(&None, &one),
            of(&one, &other),
        ];
        for (number, each) in all.iter().enumerate() {
            assert!(each.is_some() && !all[..number].contains(each), "{all:?}");
        }
    }
}
