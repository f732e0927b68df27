//! Where the API finds credentials for the bucket without keys. One small server is every credential
//! service, and also the bucket, which records the signers.

use super::harness::{Service, Surroundings, until};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

const EXPIRATION: &str = "2100-01-01T00:00:00Z";

/// Signers of the bucket's requests, as `<access key id> <session token>`.
type Signers = Arc<Mutex<Vec<String>>>;

async fn lender() -> anyhow::Result<(String, Signers)> {
    let signers = Signers::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let router = Router::new()
        .fallback(lend)
        .with_state(Arc::clone(&signers));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((endpoint, signers))
}

async fn lend(State(signers): State<Signers>, request: Request) -> Response {
    let header = |name: &str| {
        let value = request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let keys = |id: &str| {
        json!({
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2020-01-01T00:00:00Z",
            "AccessKeyId": id, "SecretAccessKey": "s", "Token": "session", "Expiration": EXPIRATION,
        })
        .to_string()
    };
    match request.uri().path() {
        "/sts" | "/sts/" => format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>WEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>session</SessionToken><Expiration>{EXPIRATION}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>a</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/fovea/pod</Arn></AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )
        .into_response(),
        "/pod" => keys("POD").into_response(),
        "/latest/api/token" => (
            [("x-aws-ec2-metadata-token-ttl-seconds", "21600")],
            "metadata-token",
        )
            .into_response(),
        path if path.ends_with("/security-credentials/") || path.ends_with("/security-credentials-extended/") => {
            "role".into_response()
        }
        path if path.ends_with("/role") => keys("NODE").into_response(),
        _ => {
            let authorization = header("authorization");
            let signer = authorization.split("Credential=").nth(1).unwrap_or_default();
            let signer = signer.split('/').next().unwrap_or_default();
            let token = header("x-amz-security-token");
            signers.lock().expect("not poisoned").push(format!("{signer} {token}"));
            "<ListBucketResult/>".into_response()
        }
    }
}

/// The signer with these variables and without keys.
async fn signer(env: impl FnOnce(&str) -> Vec<(&'static str, String)>) -> anyhow::Result<String> {
    super::harness::cluster().await?;
    let (endpoint, signers) = lender().await?;
    let surroundings = Surroundings {
        s3_keys: (String::new(), String::new()),
        env: env(&endpoint),
        s3_endpoint: endpoint,
        ..Surroundings::shared().await?
    };
    let api = Service::start_in(surroundings, &["--check-timeout-ms", "5000"]).await?;
    until("a request to the bucket", || async {
        let ready = api.get("/readyz?verbose").await?;
        let signer = signers.lock().expect("not poisoned").first().cloned();
        signer.ok_or_else(|| anyhow::anyhow!("{ready:?}"))
    })
    .await
}

#[tokio::test]
async fn a_web_identity_is_exchanged_at_the_token_service() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, "identity")?;
    let signer = signer(|endpoint| {
        vec![
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.display().to_string()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/fovea".to_owned()),
            ("AWS_ENDPOINT_URL_STS", format!("{endpoint}/sts")),
        ]
    });
    assert_eq!(signer.await?, "WEB session");
    Ok(())
}

#[tokio::test]
async fn a_pod_s_identity_is_used_if_it_has_one() -> anyhow::Result<()> {
    let signer = signer(|endpoint| {
        vec![
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                format!("{endpoint}/pod"),
            ),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "t".to_owned()),
        ]
    });
    assert_eq!(signer.await?, "POD session");
    Ok(())
}

#[tokio::test]
async fn the_node_s_role_is_used_last() -> anyhow::Result<()> {
    let signer =
        signer(|endpoint| vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.to_owned())]);
    assert_eq!(signer.await?, "NODE session");
    Ok(())
}

#[tokio::test]
async fn without_any_credentials_the_error_names_the_settings() -> anyhow::Result<()> {
    super::harness::cluster().await?;
    let surroundings = Surroundings {
        s3_keys: (String::new(), String::new()),
        env: vec![("AWS_EC2_METADATA_DISABLED", "true".to_owned())],
        ..Surroundings::shared().await?
    };
    let api = Service::start_in(surroundings, &["--check-timeout-ms", "5000"]).await?;
    let ready = api.get("/readyz?verbose").await?;
    assert_eq!(ready.status, 503);
    let detail = ready.body["detail"].as_str().unwrap_or_default();
    assert!(
        detail.contains("no credentials for the object store: set AWS_ACCESS_KEY_ID"),
        "{detail}"
    );
    let quiet = api.get("/readyz").await?.body.to_string();
    assert!(!quiet.contains("AWS_"), "{quiet}");
    Ok(())
}
