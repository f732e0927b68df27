//! HTTPS, with a certificate that changes while the runner serves.

use crate::harness::{Lines, Runner, caption, rgb, settings};
pub(crate) use crate::support::private::sign;
use fovea_protocol::INFER_PATH;
use fovea_runner::engine::MaxBatchSize;
use fovea_runner::server::Tls;
use reqwest::{Certificate, Client};
use std::sync::Arc;

pub(crate) fn trusting(authority: &str) -> Client {
    let certificate = Certificate::from_pem(authority.as_bytes()).unwrap();
    Client::builder()
        .tls_certs_only([certificate])
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_caption_comes_over_https_and_a_new_certificate_is_taken_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, cert, key) = sign(dir.path());
    let tls = Arc::new(Tls::open(&cert, &key).unwrap());
    let served = Some(Arc::clone(&tls));
    let eight = "8".parse::<MaxBatchSize>().unwrap();
    let runner = Runner::start_with(settings(), eight, served, |loader| loader).await;
    let ready = format!("https://{}/readyz", runner.address);
    let client = trusting(&authority);
    crate::harness::until(async || client.get(&ready).send().await.unwrap().status() == 200).await;

    let infer_request = serde_json::to_vec(&rgb()).unwrap();
    let infer = format!("https://{}{INFER_PATH}", runner.address);
    let answer = client
        .post(&infer)
        .body(infer_request)
        .send()
        .await
        .unwrap();
    caption(&Lines::new(answer).last().await);

    let plain = format!("http://{}/readyz", runner.address);
    assert!(Client::new().get(plain).send().await.is_err());

    let (new_authority, ..) = sign(dir.path());
    tls.refresh().unwrap();
    assert!(trusting(&authority).get(&ready).send().await.is_err());
    let answer = trusting(&new_authority).get(&ready).send().await.unwrap();
    assert_eq!(answer.status(), 200);

    // A broken file changes nothing.
    std::fs::write(&cert, "no certificate").unwrap();
    assert!(tls.refresh().is_err());
    let answer = trusting(&new_authority).get(&ready).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[test]
fn files_that_are_no_certificate_and_key_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cert, key) = sign(dir.path());
    let absent = dir.path().join("absent");
    for (cert, key, named) in [
        (&absent, &key, "absent"),
        (&cert, &absent, "absent"),
        (&key, &key, "tls.key"),
        (&cert, &cert, "tls.crt"),
    ] {
        let error = Tls::open(cert, key).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
