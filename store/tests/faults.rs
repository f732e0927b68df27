//! Failures of the store, each with an error that an administrator can act on: from a real MinIO if
//! it can fail so, else from a small server that answers as S3 does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use fovea_harness::Minio;
use fovea_store::{ObjectKey, Store, StoreConfig, StoreError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn config(endpoint: &str, bucket: &str) -> StoreConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    StoreConfig {
        attempt_timeout_ms: 500,
        ..StoreConfig::at(endpoint.parse().unwrap(), bucket)
    }
}

async fn connect(endpoint: &str, bucket: &str, key: &str, secret: &str) -> Store {
    let config = config(endpoint, bucket);
    Store::connect_as(&config, key, secret).await.unwrap()
}

/// The errors of a put and of the health check.
async fn both(store: &Store) -> [StoreError; 2] {
    let key = ObjectKey::data("ns", "a").unwrap();
    [
        store.put(&key, "x".into(), "text/plain").await.unwrap_err(),
        store.check().await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let minio = Minio::start().await.unwrap();
    let store = connect(
        minio.endpoint(),
        "no-such",
        minio.access_key(),
        minio.secret_key(),
    )
    .await;
    for error in both(&store).await {
        let text = error.to_string();
        assert!(text.contains("\"no-such\" does not exist"), "{text}");
        assert!(matches!(error, StoreError::NoBucket { .. }), "{text}");
    }
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn wrong_keys_and_a_denied_bucket_are_different_errors() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("fovea").unwrap();
    let (key, secret) = (minio.access_key(), minio.secret_key());
    for (key, secret, code) in [
        ("nobody", secret, "InvalidAccessKeyId"),
        (key, "wrong", "SignatureDoesNotMatch"),
    ] {
        let store = connect(minio.endpoint(), "fovea", key, secret).await;
        for error in both(&store).await {
            let text = error.to_string();
            assert!(
                text.contains(code) && text.contains("check the access key"),
                "{text}"
            );
            assert!(!text.contains(secret), "{text}");
            assert!(
                matches!(error, StoreError::WrongCredentials { .. }),
                "{text}"
            );
        }
    }
    minio.stop().await.unwrap();
}

/// How the server treats one request.
#[derive(Clone, Copy)]
enum Fate {
    /// S3's error of this status and code.
    Fail(u16, &'static str),
    /// Accepts the request and never answers.
    Stall,
    /// Announces more than it sends.
    Short,
    Succeed,
}

/// A server that gives its requests the `fates`, one each, and all later ones the last.
async fn server(fates: Vec<Fate>) -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let fate = {
                let mut count = counted.lock().unwrap();
                *count += 1;
                fates[(*count).min(fates.len()) - 1]
            };
            tokio::spawn(answer(stream, fate));
        }
    });
    (endpoint, count)
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, fate: Fate) {
    let mut request = [0; 8192];
    let _ = stream.read(&mut request).await;
    let (status, body) = match fate {
        Fate::Stall => return std::future::pending().await,
        Fate::Succeed | Fate::Short => (200, String::new()),
        Fate::Fail(status, code) => (
            status,
            format!("<Error><Code>{code}</Code><Message>m</Message></Error>"),
        ),
    };
    let length = match fate {
        Fate::Short => 100,
        _ => body.len(),
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\netag: \"0\"\r\ncontent-length: {length}\r\ncontent-type: application/xml\r\nconnection: close\r\n\r\n{body}"
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

#[tokio::test]
async fn throttled_requests_are_retried_and_then_reported() {
    let slow = Fate::Fail(503, "SlowDown");
    let (endpoint, count) = server(vec![slow, slow, Fate::Succeed]).await;
    let store = connect(&endpoint, "fovea", "k", "s").await;
    let key = ObjectKey::data("ns", "a").unwrap();
    store.put(&key, "x".into(), "text/plain").await.unwrap();
    assert_eq!(*count.lock().unwrap(), 3);

    let (endpoint, count) = server(vec![slow]).await;
    let store = connect(&endpoint, "fovea", "k", "s").await;
    let error = store.put(&key, "x".into(), "text/plain").await.unwrap_err();
    assert!(
        matches!(&error, StoreError::SlowDown { code } if code == "SlowDown"),
        "{error}"
    );
    assert_eq!(*count.lock().unwrap(), 3);
}

#[tokio::test]
async fn an_object_that_ends_before_its_length_is_read_again_and_then_an_error() {
    let (endpoint, count) = server(vec![Fate::Short]).await;
    let store = connect(&endpoint, "fovea", "k", "s").await;
    let key = ObjectKey::data("ns", "a").unwrap();
    let error = store.get(&key, 1000).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken { .. }), "{error}");
    assert!(error.to_string().contains("0 of 100 bytes"), "{error}");
    assert_eq!(*count.lock().unwrap(), 3);
}

/// As a web server without S3 may answer anything.
#[tokio::test]
async fn an_answer_without_a_body_is_no_list() {
    let (endpoint, _) = server(vec![Fate::Succeed]).await;
    let store = connect(&endpoint, "fovea", "k", "s").await;
    let error = store.check().await.unwrap_err();
    assert!(matches!(error, StoreError::NotS3(_)), "{error}");
    assert!(error.to_string().contains("without a body"), "{error}");
}

#[tokio::test]
async fn stalled_requests_are_retried_and_given_up_in_time() {
    let (endpoint, _) = server(vec![Fate::Stall, Fate::Succeed]).await;
    let store = connect(&endpoint, "fovea", "k", "s").await;
    let key = ObjectKey::data("ns", "a").unwrap();
    store.put(&key, "x".into(), "text/plain").await.unwrap();

    let (endpoint, count) = server(vec![Fate::Stall]).await;
    let store = connect(&endpoint, "fovea", "k", "s").await;
    let began = Instant::now();
    let error = store.put(&key, "x".into(), "text/plain").await.unwrap_err();
    assert!(matches!(error, StoreError::TimedOut), "{error}");
    assert!(error.to_string().contains("--s3-endpoint"));
    assert!(began.elapsed() < config(&endpoint, "b").operation_timeout() + Duration::from_secs(1));
    assert_eq!(*count.lock().unwrap(), 3);
}

/// Signs a request with the time of an hour ago by hand, because the SDK signs with the current time.
#[tokio::test]
async fn a_real_store_reports_clock_skew_by_the_expected_code() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("fovea").unwrap();
    let url = format!("{}/fovea/data/ns/a", minio.endpoint());
    let identity = Credentials::new(minio.access_key(), minio.secret_key(), None, None, "t").into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let params = SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(SystemTime::now() - Duration::from_hours(1))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let signable =
        SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(b"")).unwrap();
    let (signed, _) = sign(signable, &params).unwrap().into_parts();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = signed
        .headers()
        .fold(client.get(url), |request, (name, value)| {
            request.header(name, value)
        });
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    let text = answer.text().await.unwrap();
    assert!(text.contains("<Code>RequestTimeTooSkewed</Code>"), "{text}");
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn clock_skew_is_reported_without_a_retry() {
    let (endpoint, count) = server(vec![Fate::Fail(403, "RequestTimeTooSkewed")]).await;
    let store = connect(&endpoint, "fovea", "k", "s").await;
    for error in both(&store).await {
        assert!(matches!(error, StoreError::ClockSkew { .. }), "{error}");
    }
    assert_eq!(*count.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_store_that_refuses_connections_is_unreachable() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let store = connect(&format!("http://{closed}"), "fovea", "k", "s").await;
    for error in both(&store).await {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unreachable(_)), "{text}");
        assert!(text.contains("refused"), "{text}");
    }
}

#[tokio::test]
async fn a_configured_ca_file_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let refusal = async || {
        let config = StoreConfig {
            ca_file: Some(path.clone()),
            ..config("https://127.0.0.1:1", "fovea")
        };
        let connected = Store::connect_as(&config, "k", "s").await;
        connected.map(|_| ()).unwrap_err().to_string()
    };
    let missing = refusal().await;
    assert!(
        missing.contains("--s3-ca-file") && missing.contains("No such file"),
        "{missing}"
    );
    for wrong in [
        "",
        "not a certificate",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&path, wrong).unwrap();
        let text = refusal().await;
        assert!(text.contains("--s3-ca-file"), "{wrong:?}: {text}");
    }
}

/// A server that answers every TLS request with an empty 200, and its authority's certificate.
async fn tls_server() -> (String, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(answer(stream, Fate::Succeed));
            }
        }
    });
    (endpoint, pem)
}

#[tokio::test]
async fn a_private_authority_is_trusted_if_its_file_is_configured() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (endpoint, pem) = tls_server().await;
    let store = connect(&endpoint, "fovea", "k", "s").await;
    let key = ObjectKey::data("ns", "a").unwrap();
    let error = store.put(&key, "x".into(), "text/plain").await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("--s3-ca-file") && text.contains("certificate"),
        "{text}"
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, pem).unwrap();
    let config = StoreConfig {
        ca_file: Some(path),
        ..config(&endpoint, "fovea")
    };
    let store = Store::connect_as(&config, "k", "s").await.unwrap();
    store.put(&key, "x".into(), "text/plain").await.unwrap();
}

#[tokio::test]
async fn a_changed_ca_file_is_trusted_from_the_next_request_on() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ((endpoint, pem), (_, another)) = (tls_server().await, tls_server().await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, &another).unwrap();
    let config = StoreConfig {
        ca_file: Some(path.clone()),
        max_attempts: 1,
        ..config(&endpoint, "fovea")
    };
    let store = Store::connect_as(&config, "k", "s").await.unwrap();
    let key = ObjectKey::data("ns", "a").unwrap();
    let put = async || store.put(&key, "x".into(), "text/plain").await;
    let error = put().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");

    std::fs::write(&path, format!("{another}{pem}")).unwrap();
    put().await.unwrap();
    std::fs::write(&path, "half a certi").unwrap();
    put().await.unwrap();
    let fault = store.authorities().unwrap().fault().unwrap();
    assert!(fault.contains("ca.pem"), "{fault}");
    std::fs::write(&path, &another).unwrap();
    assert!(put().await.is_err(), "it is trusted no more");
}
