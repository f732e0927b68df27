//! A store whose certificate only its own authority vouches for.

use crate::harness::{Runner, caption, request, settings};
use crate::store::Store;
use crate::support::private::tls_door;
use fovea_protocol::{Reason, Source};
use fovea_runner::server::AppConfig;
use fovea_trust::Authorities;
use std::sync::Arc;

#[tokio::test]
async fn a_store_s_own_authority_is_trusted_from_its_file_and_a_changed_file_at_once() {
    let store = Store::start().await;
    let (address, authority) = tls_door(store.address).await;
    let (_, another) = tls_door(store.address).await;
    let url = format!("https://{address}/picture?X-Amz-Signature=secret");
    let picture = request(Source::Url(url));
    let refused = async |runner: &Runner| {
        let problem = runner.problem(&picture).await;
        assert_eq!(problem.reason, Reason::FetchFailed);
        let said = &problem.detail;
        assert!(
            said.contains("not trusted") && said.contains("--s3-ca-file"),
            "{said}"
        );
        assert!(!said.contains("secret"), "{said}");
    };
    refused(&Runner::start(settings()).await).await;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, &another).unwrap();
    let authorities = Some(Arc::new(Authorities::open(&path).unwrap()));
    let trusting = AppConfig {
        authorities,
        ..settings()
    };
    let runner = Runner::start(trusting).await;
    refused(&runner).await;
    std::fs::write(&path, format!("{another}{authority}")).unwrap();
    caption(&runner.last_line(&picture).await);
    std::fs::write(&path, another).unwrap();
    refused(&runner).await;
}
