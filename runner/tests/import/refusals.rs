//! Error answers and invalid answers of the hub.

use crate::hub::{COMMIT, TOKEN, bare};
use crate::setting::{Setting, names};
use axum::response::{Html, IntoResponse as _};
use std::time::Instant;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_refused_access_is_reported_with_how_to_get_it() {
    let mut setting = Setting::new().await;
    setting.hub.world().closed = Some("GatedRepo");
    let error = setting.refusal().await;
    assert!(
        error.contains("is gated: accept its terms") && error.contains("HF_TOKEN"),
        "{error}"
    );
    setting.hub.world().closed = Some("RepoNotFound");
    let error = setting.refusal().await;
    assert!(
        error.contains("private") && error.contains("set HF_TOKEN"),
        "{error}"
    );
    setting.set("HF_TOKEN", "hf_wrong");
    let error = setting.refusal().await;
    assert!(
        error.contains("whether the token in HF_TOKEN may read it"),
        "{error}"
    );
    assert!(!error.contains("hf_wrong"), "{error}");
    setting.set("HF_TOKEN", TOKEN);
    setting.hub.instead("/revision/", [bare(403, &[])]);
    let error = setting.refusal().await;
    assert!(
        error.contains("403") && error.contains("what the token"),
        "{error}"
    );
    setting
        .hub
        .instead("/revision/", [bare(403, &[("x-error-code", "GatedRepo")])]);
    assert!(setting.refusal().await.contains("is gated"));
    // The listing may be public although the files are not.
    setting.hub.instead(
        "model.safetensors",
        [bare(403, &[("x-error-code", "GatedRepo")])],
    );
    assert!(setting.refusal().await.contains("is gated"));
    // One try each: a retry would not help.
    assert_eq!(setting.hub.gets("/revision/").len(), 6);
}

#[tokio::test]
async fn a_missing_repository_or_revision_is_reported_by_its_name() {
    let mut setting = Setting::new().await;
    setting.config.revision = "v9".parse().unwrap();
    let error = setting.refusal().await;
    assert!(
        error.contains("no revision v9 of Salesforce/blip-tiny"),
        "{error}"
    );
    setting.config.revision = "main".parse().unwrap();
    setting.config.repo = "nobody/nothing".parse().unwrap();
    let error = setting.refusal().await;
    assert!(error.contains("no repository of nobody/nothing"), "{error}");
    let setting = Setting::new().await;
    setting
        .hub
        .instead("resolve", [bare(404, &[("x-error-code", "EntryNotFound")])]);
    let error = setting.refusal().await;
    assert!(error.contains("no config.json of"), "{error}");
    setting.hub.remove("config.json");
    assert!(setting.refusal().await.contains("it has no config.json"));
    setting.hub.put("config.json", "{}");
    setting.hub.remove("model.safetensors");
    let error = setting.refusal().await;
    assert!(
        error.contains("no weights") && error.contains("tf_model.h5"),
        "{error}"
    );
}

#[tokio::test]
async fn too_many_requests_are_retried_after_the_hubs_wait_up_to_a_bound() {
    let setting = Setting::new().await;
    let busy = |wait| bare(429, &[("retry-after", wait)]);
    setting.hub.instead("/revision/", [busy("1")]);
    setting.hub.instead("/store/", [busy("0"), bare(429, &[])]);
    let begun = Instant::now();
    setting.import().await.unwrap();
    assert!(begun.elapsed().as_millis() >= 1000, "{:?}", begun.elapsed());
    assert_eq!(setting.hub.gets("/revision/").len(), 2);

    setting.hub.instead("/revision/", [busy("3600")]);
    let error = setting.refusal().await;
    assert!(
        error.contains("asks to wait 3600 s") && error.contains("HF_TOKEN"),
        "{error}"
    );
    setting.hub.instead("/revision/", (0..5).map(|_| busy("0")));
    let error = setting.refusal().await;
    assert!(
        error.contains("gave up after 3 tries") && error.contains("429"),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_to_a_failing_hub_is_retried() {
    let setting = Setting::new().await;
    setting
        .hub
        .instead("/revision/", [bare(503, &[]), bare(500, &[])]);
    setting.hub.instead("/resolve/", [bare(502, &[])]);
    setting.import().await.unwrap();
    assert_eq!(setting.hub.gets("/revision/").len(), 3);
}

#[tokio::test]
async fn an_unreachable_hub_is_reported_after_the_last_try() {
    let mut setting = Setting::new().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    setting.set("HF_ENDPOINT", &format!("http://{address}"));
    let error = setting.refusal().await;
    assert!(
        error.contains("gave up after 3 tries") && error.contains(&address.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_like_the_hub_is_refused() {
    let setting = Setting::new().await;
    setting.hub.instead(
        "/revision/",
        [Html("<!doctype html><p>Sign in to the guest network</p>").into_response()],
    );
    assert!(setting.refusal().await.contains("check HF_ENDPOINT"));
    setting.hub.instead("/revision/", [bare(200, &[])]);
    assert!(setting.refusal().await.contains("check HF_ENDPOINT"));
    let other = [
        ("x-repo-commit", "0000000000000000000000000000000000000000"),
        ("etag", "\"x\""),
    ];
    setting.hub.instead("config.json", [bare(200, &other)]);
    assert!(setting.refusal().await.contains("another commit"));
    setting.hub.instead(
        "config.json",
        [bare(
            200,
            &[("x-repo-commit", COMMIT), ("etag", "\"md5-3\"")],
        )],
    );
    assert!(setting.refusal().await.contains("no digest"));
    let huge = [
        ("x-repo-commit", COMMIT),
        (
            "x-linked-etag",
            "\"0000000000000000000000000000000000000000\"",
        ),
        ("x-linked-size", "99999999999999"),
    ];
    setting.hub.instead("config.json", [bare(200, &huge)]);
    assert!(
        setting
            .refusal()
            .await
            .contains("99999999999999 bytes, more than")
    );
}

#[tokio::test]
async fn redirects_are_bounded_and_must_have_a_target() {
    let setting = Setting::new().await;
    let circle = || bare(302, &[("location", "/revision/around")]);
    setting.hub.instead("/revision/", (0..10).map(|_| circle()));
    let error = setting.refusal().await;
    assert!(error.contains("redirect too many"), "{error}");
    let setting = Setting::new().await;
    setting.hub.instead("/revision/", [bare(302, &[])]);
    assert!(setting.refusal().await.contains("redirect to nowhere"));
    setting.hub.instead(
        "/revision/",
        [bare(302, &[("location", "file:///etc/passwd")])],
    );
    assert!(setting.refusal().await.contains("redirect away"));
}

#[tokio::test]
async fn names_outside_the_cache_are_never_requested() {
    let setting = Setting::new().await;
    for name in ["../../escape.txt", "/etc/passwd", "a/../../config.json"] {
        setting.hub.put(name, vec![1; 10]);
    }
    setting.hub.remove("model.safetensors");
    let index = serde_json::json!({"weight_map": {"a": "../../../escape.safetensors"}});
    setting
        .hub
        .put("model.safetensors.index.json", index.to_string());
    let error = setting.refusal().await;
    assert!(
        error.contains("is no index") && error.contains("relative path"),
        "{error}"
    );
    assert!(setting.hub.gets("escape").is_empty());
    assert_eq!(names(setting.home.path()), ["hub"]);
}
