//! A hub and a store whose certificates only their own authorities vouch for.

use crate::setting::Setting;
use crate::tls::tls_door;
use serde_json::json;

#[tokio::test]
async fn a_hub_s_own_authority_is_trusted_from_its_file() {
    let mut setting = Setting::new().await;
    let (address, authority) = tls_door(setting.hub.front).await;
    setting.set("HF_ENDPOINT", &format!("https://{address}"));
    let error = setting.refused(&["not trusted", "--hub-ca-file"]).await;
    assert!(!error.contains("tries"), "it was tried again: {error}");

    let path = setting.home.path().join("hub-ca.crt");
    std::fs::write(&path, "no certificate").unwrap();
    setting.config.hub_ca_file = Some(path.clone());
    setting
        .refused(&["--hub-ca-file", "hub-ca.crt", "no certificate"])
        .await;
    std::fs::write(&path, authority).unwrap();
    // The hub is read; its store of large files is at a plain address here.
    setting.refused(&["away from https"]).await;
    assert!(!setting.hub.gets("revision").is_empty());
}

#[tokio::test]
async fn a_store_s_own_authority_is_trusted_from_its_file_and_for_the_upload_alone() {
    let mut setting = Setting::new().await;
    // It answers as no bucket does, but it answers.
    let (address, authority) = tls_door(setting.hub.store).await;
    let form = setting.home.path().join("form.json");
    let key = format!("models/{}/${{filename}}", setting.config.repo);
    let text = json!({"url": format!("https://{address}/bucket"), "fields": {"key": key}});
    std::fs::write(&form, text.to_string()).unwrap();
    setting.config.upload = Some(form);
    let error = setting.refused(&["not trusted", "--s3-ca-file"]).await;
    assert!(!error.contains("tries"), "it was tried again: {error}");

    let path = setting.home.path().join("store-ca.crt");
    std::fs::write(&path, authority).unwrap();
    setting.config.s3_ca_file = Some(path);
    setting.refused(&["the bucket refuses"]).await;
}
