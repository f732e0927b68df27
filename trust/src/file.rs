//! A file of authorities that may change while a program runs, as a kubelet changes a mounted Secret.

use super::{AuthoritiesError, Bundle};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file of certificate authorities. Each use compares its metadata, and reads it again after a change; a file
/// that became unusable changes nothing but [`Authorities::fault`].
#[derive(Debug)]
pub struct Authorities {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bundle: Bundle,
    /// Of the file when it was last read; `None`: it was not there.
    stamp: Option<Stamp>,
    fault: Option<String>,
}

/// Tells one version of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let stamp = |metadata: Metadata| Self {
            inode: metadata.ino(),
            bytes: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        };
        path.metadata().ok().map(stamp)
    }
}

impl Authorities {
    /// Reads the file for the first time.
    pub fn open(path: &Path) -> Result<Self, AuthoritiesError> {
        // Before the file is read, so that a change meanwhile is noticed.
        let stamp = Stamp::of(path);
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(State {
                bundle: Bundle::read(path)?,
                stamp,
                fault: None,
            }),
        })
    }

    /// The certificates as the file has them, or as it had them when it was last usable.
    pub fn bundle(&self) -> Bundle {
        self.current().bundle.clone()
    }

    /// Why the file cannot be used now, although it could before.
    pub fn fault(&self) -> Option<String> {
        self.current().fault.clone()
    }

    fn current(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.path);
        if stamp == state.stamp {
            return state;
        }
        state.stamp = stamp;
        match Bundle::read(&self.path) {
            Ok(bundle) => {
                let certificates = bundle.certificates().len();
                state.fault = None;
                if bundle != state.bundle {
                    let path = self.path.display();
                    tracing::info!(%path, certificates, "trusting other certificate authorities");
                    state.bundle = bundle;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate authorities that were read before stay trusted");
                state.fault = Some(error.to_string());
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> String {
        let made = rcgen::generate_simple_self_signed(["authority.test".to_owned()]);
        made.unwrap().cert.pem()
    }

    #[test]
    fn a_changed_file_is_read_again_and_an_unusable_one_leaves_what_was_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let [first, second] = [authority(), authority()];
        std::fs::write(&path, &first).unwrap();
        let authorities = Authorities::open(&path).unwrap();
        let before = authorities.bundle();
        assert!(authorities.bundle().is_same(&before));

        // As a kubelet does: another file under the same name.
        let put = |text: &str| {
            let next = folder.path().join("next");
            std::fs::write(&next, text).unwrap();
            std::fs::rename(next, &path).unwrap();
        };
        put(&format!("{first}{second}"));
        let both = authorities.bundle();
        assert_eq!(both.certificates().len(), 2);
        put("half a certi");
        assert!(authorities.bundle().is_same(&both));
        let fault = authorities.fault().unwrap();
        assert!(fault.contains("ca.crt: there is no certificate"), "{fault}");
        std::fs::remove_file(&path).unwrap();
        assert!(authorities.fault().unwrap().contains("No such file"));
        assert!(authorities.bundle().is_same(&both));
        put(&second);
        assert_eq!(authorities.fault(), None);
        assert_eq!(authorities.bundle().certificates().len(), 1);
    }
}
