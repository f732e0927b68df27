use super::*;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::primitives::SdkBody;

fn refusal(status: u16, code: Option<&str>, message: Option<&str>) -> Refusal {
    let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
    Refusal::of(&response, code, message)
}

fn classified(refusal: &Refusal, key: &str) -> StoreError {
    StoreError::answered(refusal, "b", key).unwrap_or_else(|| StoreError::other(refusal))
}

#[test]
fn a_response_s_code_takes_precedence_over_its_status() {
    let key = "check the access key and its secret";
    for (status, code, key, part) in [
        (
            404,
            Some("NoSuchBucket"),
            "k",
            "bucket \"b\" does not exist",
        ),
        (404, None, "", "bucket \"b\" does not exist"),
        (404, Some("NoSuchKey"), "k", "no object \"k\""),
        (404, None, "k", "no object \"k\""),
        (403, Some("RequestTimeTooSkewed"), "k", "clock"),
        (403, Some("InvalidAccessKeyId"), "k", key),
        (
            403,
            Some("SignatureDoesNotMatch"),
            "k",
            "Host, path or headers",
        ),
        (400, Some("ExpiredToken"), "k", "renew the access key"),
        (400, Some("InvalidToken"), "k", "AWS_SESSION_TOKEN"),
        (
            400,
            Some("AuthorizationHeaderMalformed"),
            "k",
            "--s3-region",
        ),
        (401, None, "k", key),
        (403, Some("AccessDenied"), "k", "check its policy"),
        (403, None, "k", "check its policy"),
        (503, Some("SlowDown"), "k", "fewer requests"),
        (429, None, "k", "fewer requests"),
        (301, Some("PermanentRedirect"), "k", "in another region"),
        (302, None, "k", "set --s3-endpoint"),
        (500, Some("InternalError"), "k", "500 InternalError: m"),
        (503, None, "k", "does not answer as it should: 503: m"),
    ] {
        let text = classified(&refusal(status, code, Some("m")), key).to_string();
        assert!(text.contains(part), "{status} {code:?}: {text}");
    }
}

#[test]
fn the_store_s_own_words_are_in_every_refusal() {
    for (status, code) in [
        (403, "AccessDenied"),
        (403, "RequestTimeTooSkewed"),
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (400, "ExpiredToken"),
        (400, "EntityTooSmall"),
        (301, "PermanentRedirect"),
        (409, "OperationAborted"),
    ] {
        let text = classified(&refusal(status, Some(code), Some("It says.")), "k").to_string();
        assert!(text.contains(&format!("{code}: It says.")), "{text}");
    }
}

#[test]
fn the_bucket_s_region_is_named_with_the_flag_to_set() {
    for (status, code) in [
        (400, Some("AuthorizationHeaderMalformed")),
        (301, Some("PermanentRedirect")),
        (307, Some("TemporaryRedirect")),
        // To a HEAD.
        (301, None),
    ] {
        let mut refusal = refusal(status, code, None);
        refusal.region = Some("eu-north-1".to_owned());
        let error = classified(&refusal, "k");
        let text = error.to_string();
        assert!(text.contains("the region \"eu-north-1\""), "{text}");
        assert!(
            text.contains("set --s3-region (objectStore.region) to eu-north-1"),
            "{text}"
        );
        assert!(error.is_refusal());
    }
}

#[test]
fn only_an_answer_that_time_does_not_change_is_a_refusal() {
    let is_refusal = |status, code| classified(&refusal(status, code, None), "k").is_refusal();
    for (status, code) in [
        (404, Some("NoSuchBucket")),
        (403, Some("AccessDenied")),
        (403, Some("InvalidAccessKeyId")),
        (400, Some("XMinioAdminBucketQuotaExceeded")),
        (301, Some("PermanentRedirect")),
        (302, None),
        (501, Some("NotImplemented")),
    ] {
        assert!(is_refusal(status, code), "{status} {code:?}");
    }
    for (status, code) in [
        (503, Some("SlowDown")),
        (507, Some("XMinioStorageFull")),
        (500, None),
        (400, Some("RequestTimeout")),
        (409, Some("OperationAborted")),
    ] {
        assert!(!is_refusal(status, code), "{status} {code:?}");
    }
    assert!(!StoreError::TimedOut.is_refusal());
}
