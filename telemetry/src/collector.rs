//! The HTTP client of the collector's exporter.

use crate::TelemetryError;
use fovea_proxy::Proxies;
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
};
use reqwest::blocking::Client;
use std::time::Duration;

/// A client whose requests go through `proxies`. The exporter's own reads the environment in another way.
pub(crate) fn client(proxies: &Proxies) -> Result<Client, TelemetryError> {
    let timeout = timeout(|name| std::env::var(name).ok());
    let builder = Client::builder().timeout(timeout);
    let builder = if proxies.is_empty() {
        builder.no_proxy()
    } else {
        builder.proxy(proxies.rule())
    };
    // A blocking client must not be made on a thread of the runtime.
    let made = std::thread::spawn(move || builder.build()).join();
    let made = made.map_err(|_| TelemetryError::Client("its thread panicked".to_owned()))?;
    made.map_err(|error| TelemetryError::Client(error.to_string()))
}

/// The timeout of one export, by the SDK's variables, which apply to its own client only.
fn timeout(value: impl Fn(&str) -> Option<String>) -> Duration {
    let names = [
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
        OTEL_EXPORTER_OTLP_TIMEOUT,
    ];
    let ms = names.into_iter().find_map(|name| value(name)?.parse().ok());
    ms.map_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_is_the_one_of_the_sdk_s_variables() {
        let of = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(set, _)| *set == name);
            timeout(|name| value(name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[]), Duration::from_secs(10));
        let both = [
            (OTEL_EXPORTER_OTLP_TIMEOUT, "2000"),
            (OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, "3000"),
        ];
        assert_eq!(of(&both[..1]), Duration::from_secs(2));
        assert_eq!(of(&both), Duration::from_secs(3));
        assert_eq!(of(&[(both[0].0, "soon")]), Duration::from_secs(10));
    }
}
