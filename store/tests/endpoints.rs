//! Endpoints as people write them: with a path, by virtual hosts, of another region, behind a redirect.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

use fovea_harness::{Minio, eventually};
use fovea_store::{ModelPrefix, ObjectKey, Presentation, Store, StoreConfig, StoreError};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(30);
const LIFETIME: Duration = Duration::from_mins(5);
const PLAIN: Presentation<'_> = Presentation {
    content_type: "text/plain",
    disposition: "attachment",
};

fn config(endpoint: &str) -> StoreConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    StoreConfig::at(endpoint.parse().unwrap(), "fovea")
}

async fn connect(config: &StoreConfig) -> Store {
    Store::connect_as(config, "key", "secret").await.unwrap()
}

fn key() -> ObjectKey {
    ObjectKey::data("ns", "a").unwrap()
}

/// The requests' first lines.
type Lines = Arc<Mutex<Vec<String>>>;

/// A server that gives every request this answer: status, headers and body.
async fn server(answer: &str) -> (String, Lines) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let lines = Lines::default();
    let (heard, answer) = (Arc::clone(&lines), answer.to_owned());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (heard, answer) = (Arc::clone(&heard), answer.clone());
            tokio::spawn(async move {
                let mut request = [0; 8192];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let first = text.lines().next().unwrap_or_default().to_owned();
                heard.lock().unwrap().push(first);
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (endpoint, lines)
}

/// An answer with a body of XML.
fn xml(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\ncontent-type: application/xml\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

/// The errors of a list, a put, a get and a HEAD.
async fn errors(store: &Store) -> Vec<StoreError> {
    vec![
        store.check().await.unwrap_err(),
        (store.put(&key(), "x".into(), "text/plain").await).unwrap_err(),
        store.get(&key(), 10).await.unwrap_err(),
        store.modified(&key()).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_path_without_a_final_slash_is_a_path_for_requests_links_and_forms() {
    let (endpoint, lines) = server(&xml(200, "etag: \"0\"\r\n", "")).await;
    for path in ["/storage/v1/s3", "/storage/v1/s3/"] {
        let mut config = config(&format!("{endpoint}{path}"));
        config.public_endpoint = Some("https://files.test/public".parse().unwrap());
        let store = connect(&config).await;
        (store.put(&key(), "x".into(), "text/plain").await).unwrap();
        let line = lines.lock().unwrap().pop().unwrap();
        assert!(
            line.starts_with("PUT /storage/v1/s3/fovea/data/ns/a?"),
            "{line}"
        );
        let internal = format!("{endpoint}/storage/v1/s3/fovea/data/ns/a?");
        let signer = store.signer(LIFETIME).await.unwrap();
        for url in [
            store.presign_get(&key(), LIFETIME).await.unwrap(),
            signer.get(&key()).unwrap(),
        ] {
            assert!(url.starts_with(&internal), "{url}");
        }
        let public = store.presign_public_get(&key(), LIFETIME, PLAIN).await;
        let public = public.unwrap().unwrap();
        let expected = "https://files.test/public/fovea/data/ns/a?";
        assert!(public.starts_with(expected), "{public}");
        let prefix = ModelPrefix::new("a", "b").unwrap();
        let form = store.presign_post(&prefix, 10, LIFETIME).await.unwrap();
        assert_eq!(form.url, format!("{endpoint}/storage/v1/s3/fovea"));
    }
}

#[tokio::test]
async fn virtual_hosts_and_paths_are_signed_for_as_each_endpoint_wants() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let minio = Minio::start_with(&[("MINIO_DOMAIN", "s3.test")]).await;
    let minio = minio.unwrap();
    minio.create_bucket("fovea").unwrap();
    let address = minio.endpoint().strip_prefix("http://").unwrap();
    let address: std::net::SocketAddr = address.parse().unwrap();
    let http = reqwest::Client::builder()
        .no_proxy()
        .resolve("s3.test", address)
        .resolve("fovea.s3.test", address)
        .build()
        .unwrap();
    let named = format!("http://s3.test:{}", address.port());
    let (access_key, secret) = (minio.access_key(), minio.secret_key());
    let mut config = config(minio.endpoint());
    config.public_endpoint = Some(named.parse().unwrap());
    for (public_path_style, host) in [(None, "s3.test"), (Some(false), "fovea.s3.test")] {
        config.public_path_style = public_path_style;
        let store = Store::connect_as(&config, access_key, secret).await;
        let store = store.unwrap();
        (store.put(&key(), "x".into(), "text/plain").await).unwrap();
        let public = store.presign_public_get(&key(), LIFETIME, PLAIN).await;
        let public = public.unwrap().unwrap();
        assert!(public.starts_with(&format!("http://{host}:")), "{public}");
        let answer = http.get(&public).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{public}");
    }

    // What runners get, of a store that is reached by virtual hosts itself.
    config.endpoint = Some(named.parse().unwrap());
    config.path_style = false;
    let store = Store::connect_as(&config, access_key, secret).await;
    let store = store.unwrap();
    let signer = store.signer(LIFETIME).await.unwrap();
    for url in [
        store.presign_get(&key(), LIFETIME).await.unwrap(),
        signer.get(&key()).unwrap(),
    ] {
        assert!(url.starts_with("http://fovea.s3.test:"), "{url}");
        let answer = http.get(&url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{url}");
    }
    let prefix = ModelPrefix::new("a", "b").unwrap();
    let form = store.presign_post(&prefix, 10, LIFETIME).await.unwrap();
    assert_eq!(
        form.url,
        format!("http://fovea.s3.test:{}/", address.port())
    );
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn the_region_that_minio_expects_is_named() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let minio = Minio::start_with(&[("MINIO_SITE_REGION", "eu-north-1")]).await;
    let minio = minio.unwrap();
    minio.create_bucket("fovea").unwrap();
    let (access_key, secret) = (minio.access_key(), minio.secret_key());
    let mut config = config(minio.endpoint());
    let store = Store::connect_as(&config, access_key, secret).await;
    let store = store.unwrap();
    // MinIO reads its region after it has begun to serve.
    let refused = async || match store.check().await {
        Ok(()) => Err("it accepts another region"),
        Err(_) => Ok(()),
    };
    (eventually("MinIO's region", PATIENCE, refused).await).unwrap();
    for error in errors(&store).await.into_iter().take(3) {
        let text = error.to_string();
        assert!(
            text.contains("set --s3-region (objectStore.region) to eu-north-1"),
            "{text}"
        );
    }
    config.region = "eu-north-1".to_owned();
    let store = Store::connect_as(&config, access_key, secret).await;
    store.unwrap().check().await.unwrap();
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn the_region_that_aws_redirects_to_is_named() {
    let moved = "<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed using the specified endpoint.</Message><Endpoint>fovea.s3.eu-west-3.amazonaws.com</Endpoint></Error>";
    let soon = "<Error><Code>TemporaryRedirect</Code><Message>Please re-send this request to the specified temporary endpoint.</Message></Error>";
    let region = "x-amz-bucket-region: eu-west-3\r\n";
    for answer in [xml(301, region, moved), xml(307, region, soon)] {
        let (endpoint, _) = server(&answer).await;
        let store = connect(&config(&endpoint)).await;
        for error in errors(&store).await {
            let text = error.to_string();
            assert!(
                text.contains("set --s3-region (objectStore.region) to eu-west-3"),
                "{text}"
            );
            assert!(error.is_refusal());
        }
    }
}

#[tokio::test]
async fn a_redirect_to_a_login_page_is_no_region() {
    let headers = "location: https://login.test/?token=secret\r\n";
    let (endpoint, _) = server(&xml(302, headers, "<html></html>")).await;
    let store = connect(&config(&endpoint)).await;
    for error in errors(&store).await {
        let text = error.to_string();
        let what = "no S3 (302, a redirection to https://login.test/): check --s3-endpoint";
        assert!(text.contains(what), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn expired_credentials_are_named() {
    let body = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    let (endpoint, _) = server(&xml(400, "", body)).await;
    let store = connect(&config(&endpoint)).await;
    for error in errors(&store).await.into_iter().take(3) {
        let text = error.to_string();
        assert!(
            text.contains("ExpiredToken: The provided token has expired."),
            "{text}"
        );
        assert!(text.contains("AWS_SESSION_TOKEN"), "{text}");
    }
}

#[tokio::test]
async fn an_empty_object_is_empty_whatever_the_store_calls_the_range() {
    for code in ["InvalidRange", "RequestedRangeNotSatisfiable"] {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let (endpoint, _) = server(&xml(416, "", &body)).await;
        let store = connect(&config(&endpoint)).await;
        assert!(store.head(&key(), 16).await.unwrap().is_empty());
        let mut pieces = store.open_in_pieces(&key()).await.unwrap();
        assert_eq!(pieces.bytes, 0);
        assert!(pieces.next().await.is_none());
    }
    let page = "HTTP/1.1 416 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (endpoint, _) = server(page).await;
    let store = connect(&config(&endpoint)).await;
    assert!(store.head(&key(), 16).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_bucket_in_the_endpoint_is_found_by_its_missing_bucket() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("fovea").unwrap();
    let (access_key, secret) = (minio.access_key(), minio.secret_key());
    let config = config(&format!("{}/fovea", minio.endpoint()));
    let store = Store::connect_as(&config, access_key, secret).await;
    let error = store.unwrap().check().await.unwrap_err().to_string();
    assert!(
        error.contains("leave the bucket's name out of the path"),
        "{error}"
    );
    minio.stop().await.unwrap();
}

#[tokio::test]
async fn an_endpoint_with_a_secret_or_a_query_does_not_connect() {
    for (endpoint, what) in [
        ("http://user:hunter2@s3.test", "AWS_ACCESS_KEY_ID"),
        ("http://s3.test/?a=b", "`?`"),
    ] {
        for public in [false, true] {
            let mut config = config("http://s3.test");
            let (field, flag) = if public {
                (&mut config.public_endpoint, "--s3-public-endpoint")
            } else {
                (&mut config.endpoint, "--s3-endpoint")
            };
            *field = Some(endpoint.parse().unwrap());
            let error = Store::connect_as(&config, "key", "secret").await;
            let error = error.unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains(what), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
