//! Kubernetes' quantities as numbers of bytes.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Suffixes with their factors; longer ones before those that they end with.
const SUFFIXES: [(&str, f64); 12] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("", 1.0),
];

/// The quantity in bytes, rounded down; `None` if it is none, or negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked before"
)]
pub(super) fn bytes(Quantity(text): &Quantity) -> Option<u64> {
    let (number, factor) = (SUFFIXES.iter())
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)))?;
    let bytes = number.parse::<f64>().ok()? * factor;
    (bytes.is_finite() && bytes >= 0.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        let bytes = |text: &str| bytes(&Quantity(text.to_owned()));
        assert_eq!(bytes("3Gi"), Some(3 << 30));
        assert_eq!(bytes("1.5Gi"), Some(3 << 29));
        assert_eq!(bytes("2500M"), Some(2_500_000_000));
        assert_eq!(bytes("1e9"), Some(1_000_000_000));
        assert_eq!(bytes("128974848000m"), Some(128_974_848));
        assert_eq!(bytes("123"), Some(123));
        assert_eq!(bytes("much"), None);
        assert_eq!(bytes("-1Gi"), None);
    }
}
