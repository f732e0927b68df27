//! Certificate authorities in PEM files, as `--s3-ca-file` and its like take them: read, checked, bounded,
//! and read again when they change.

mod bundle;
mod file;

pub use bundle::{AuthoritiesError, Bundle, MAX_BYTES};
pub use file::Authorities;

use std::error::Error;

/// Whether a connection failed because nobody who is trusted has signed the server's certificate, or because
/// the certificate is for another host or has expired.
pub fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return true;
    }
    // An I/O error has what it wraps as its content, not as its source, and may wrap another one.
    let content = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    match content {
        Some(content) => is_untrusted(content),
        None => error.source().is_some_and(is_untrusted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError;

    #[test]
    fn a_refused_certificate_is_told_from_other_failures_inside_an_io_error_too() {
        let refused = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(is_untrusted(&refused()));
        let io = std::io::Error::other(refused());
        assert!(is_untrusted(&std::io::Error::other(io)));
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::BadCertificate);
        assert!(!is_untrusted(&std::io::Error::other(alert)));
        assert!(!is_untrusted(&std::io::Error::other("refused")));
    }
}
