//! The certificates of one file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest accepted file, in bytes. All authorities of a system have about 300 KiB, and two files have to fit into
/// a Secret, which holds 1 MiB.
pub const MAX_BYTES: u64 = 384 << 10;

/// Characters of a line of PEM.
const LINE: usize = 64;

/// Why a file of certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file has more than [`MAX_BYTES`].
    #[error(
        "{0} has more than the {MAX_BYTES} bytes allowed; keep only the certificates that are needed"
    )]
    TooLarge(PathBuf),
    /// A block is not base64, or not an X.509 certificate.
    #[error("{path}: certificate {number} cannot be used: {why}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Place of the certificate in it, from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The file holds something else.
    #[error(
        "{0}: there is no certificate in it; it must hold PEM blocks that begin with -----BEGIN CERTIFICATE-----"
    )]
    Empty(PathBuf),
}

/// Certificates of authorities, at least one. Clones share them.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle(Arc<Certificates>);

#[derive(PartialEq, Eq)]
struct Certificates {
    all: Vec<CertificateDer<'static>>,
    pem: String,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bundle({} certificates)", self.certificates().len())
    }
}

impl Bundle {
    /// Reads a PEM file of at most [`MAX_BYTES`].
    pub fn read(path: &Path) -> Result<Self, AuthoritiesError> {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| {
            // One byte more tells a file that is too large.
            file.take(MAX_BYTES + 1).read_to_end(&mut text)
        });
        let path = path.to_owned();
        match read {
            Err(source) => Err(AuthoritiesError::Read { path, source }),
            Ok(length) if length as u64 > MAX_BYTES => Err(AuthoritiesError::TooLarge(path)),
            Ok(_) => Self::parse(&text, path),
        }
    }

    fn parse(text: &[u8], path: PathBuf) -> Result<Self, AuthoritiesError> {
        let mut all = Vec::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(text).enumerate() {
            let checked = certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| {
                    let added = RootCertStore::empty().add(certificate.clone());
                    added.map_err(|error| error.to_string())?;
                    Ok(certificate)
                });
            match checked {
                Ok(certificate) => all.push(certificate),
                Err(why) => {
                    let number = index + 1;
                    return Err(AuthoritiesError::Certificate { path, number, why });
                }
            }
        }
        if all.is_empty() {
            return Err(AuthoritiesError::Empty(path));
        }
        let pem = all.iter().map(|certificate| pem(certificate)).collect();
        Ok(Self(Arc::new(Certificates { all, pem })))
    }

    /// The certificates as DER, in the order of the file.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0.all
    }

    /// The certificates as PEM, and nothing else that the file may have had, such as a private key.
    pub fn pem(&self) -> &str {
        &self.0.pem
    }

    /// Whether both come from the same reading of a file; costs less than a comparison.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

fn pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    fn certified() -> CertifiedKey<rcgen::KeyPair> {
        generate_simple_self_signed(["authority.test".to_owned()]).unwrap()
    }

    fn read(text: &[u8]) -> Result<Bundle, AuthoritiesError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Bundle::read(file.path())
    }

    #[test]
    fn every_certificate_of_a_bundle_counts_and_a_private_key_is_not_passed_on() {
        let [first, second] = [certified(), certified()];
        let key = first.signing_key.serialize_pem();
        let [first, second] = [first.cert, second.cert];
        let text = format!(
            "# the store's\n{}{key}# the next one\n{}",
            first.pem(),
            second.pem()
        );
        let bundle = read(text.as_bytes()).unwrap();
        assert_eq!(
            bundle.certificates(),
            [first.der(), second.der()].map(Clone::clone)
        );
        let pem = bundle.pem();
        assert!(!pem.contains("KEY") && !pem.contains('#'), "{pem}");
        let again = read(pem.as_bytes()).unwrap();
        assert_eq!(again, bundle);
        assert!(!again.is_same(&bundle) && bundle.clone().is_same(&bundle));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_with_the_reason() {
        let good = certified().cert.pem();
        let block = |text: &str| {
            format!("{good}-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        };
        for (text, said) in [
            (String::new(), "there is no certificate in it"),
            (
                "not a certificate".to_owned(),
                "there is no certificate in it",
            ),
            (block("!"), "certificate 2 cannot be used"),
            (block("aGVsbG8="), "certificate 2 cannot be used"),
            (good.repeat(1000), "more than the 393216 bytes allowed"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = Bundle::read(Path::new("/no/such/ca.crt")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/no/such/ca.crt: No such file"), "{text}");
    }
}
