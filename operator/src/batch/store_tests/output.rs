//! Outputs, and what they need of a store.

use super::*;

#[tokio::test]
async fn an_output_that_is_finished_twice_has_the_same_bytes() {
    let bucket = Bucket::start().await;
    let input = prefix("in", &[], &[]);
    bucket
        .put_all((0..9).map(|at| format!("in/{at}.jpg")))
        .await;
    let plan = bucket.make(&input).await.unwrap();
    let part = |name: &str, rows: u64| {
        let formatted = Formatted {
            name: format!("{name}.token.csv"),
            bytes: 7,
            sha256: "x".to_owned(),
        };
        let metadata = PartMetadata {
            succeeded: rows.saturating_sub(1),
            failed: rows.min(1),
            skipped: 0,
            bytes: 9,
            sha256: "y".to_owned(),
            formatted: Some(formatted),
            reused: 0,
        };
        (PartName::parse(name).unwrap(), metadata)
    };
    for name in [
        "000000.0-4",
        "000000.0-6",
        "000000.4-9.end",
        "000000.6-9.end",
    ] {
        let key = ObjectKey::formatted_part(UID, &format!("{name}.token.csv")).unwrap();
        let put = bucket.store.put(&key, name.to_owned().into(), "text/csv");
        put.await.unwrap();
    }
    let output = output(OutputFormat::Csv);
    let batch = batch(&input, &output);
    let first = [part("000000.0-4", 4), part("000000.4-9.end", 5)];
    let second = [part("000000.0-6", 6), part("000000.6-9.end", 3)];

    // A crash in the middle: one copy fails.
    let rule = bucket.rule(Verdict::Fail(403), |request| {
        request.uri.path().ends_with("part-000000-0000004.csv")
    });
    let crashed = finish(&bucket.store, batch, &plan, &first, true).await;
    assert!(crashed.is_err(), "{crashed:?}");
    bucket.proxy.lift(&rule);
    assert!(!bucket.outputs().await.contains(&"_SUCCESS.json".to_owned()));
    let done = finish(&bucket.store, batch, &plan, &first, true)
        .await
        .unwrap();
    assert_eq!(
        (done.prefix.as_str(), done.parts),
        (format!("out/{UID}").as_str(), 2)
    );
    let key = ObjectKey::output("ns", "out", UID, "_SUCCESS.json").unwrap();
    let success = bucket.get(&key).await.unwrap();
    let again = finish(&bucket.store, batch, &plan, &first, true)
        .await
        .unwrap();
    assert_eq!(again, done);
    assert_eq!(bucket.get(&key).await.unwrap(), success);
    let success: Value = serde_json::from_slice(&success).unwrap();
    let expected = json!({"total": 9, "succeeded": 7, "failed": 2, "skipped": 0});
    assert_eq!(success["totals"], expected);
    assert_eq!(success["format"], "csv");
    let rows: Vec<_> = success["parts"].as_array().unwrap().iter().collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1]["name"], "part-000000-0000004.csv");

    // Parts that came late take the place of the first ones.
    bucket
        .put(&format!("out/{UID}/notes.txt"), "the user's")
        .await;
    finish(&bucket.store, batch, &plan, &second, true)
        .await
        .unwrap();
    let names = [
        "_SUCCESS.json",
        "notes.txt",
        "part-000000-0000000.csv",
        "part-000000-0000006.csv",
    ];
    assert_eq!(bucket.outputs().await, names);
    let key = ObjectKey::output("ns", "out", UID, "part-000000-0000000.csv").unwrap();
    assert_eq!(bucket.get(&key).await.unwrap(), "000000.0-6");

    // A batch that ended early has no _SUCCESS.json.
    let ended = finish(&bucket.store, batch, &plan, &second[..1], false).await;
    assert_eq!(ended.unwrap().success_sha256, None);
    assert_eq!(
        bucket.outputs().await,
        ["notes.txt", "part-000000-0000000.csv"]
    );
}

#[tokio::test]
async fn a_store_that_does_not_honour_conditions_is_refused() {
    let bucket = Bucket::start().await;
    assert_eq!(probe(&bucket.store, UID, "ns").await.unwrap(), Ok(()));
    assert_eq!(probe(&bucket.store, UID, "ns").await.unwrap(), Ok(()));
    for (status, part) in [(200, "ignores the header"), (501, "rejects the header")] {
        let rule = bucket.rule(Verdict::Fail(status), |request| {
            request.headers.contains_key("if-none-match")
        });
        let refused = probe(&bucket.store, UID, "ns").await.unwrap().unwrap_err();
        assert_eq!(refused.reason, "ConditionalPutUnsupported");
        assert!(refused.message.contains(part), "{}", refused.message);
        bucket.proxy.lift(&rule);
    }
    bucket.rule(Verdict::Fail(503), |_| true);
    assert!(probe(&bucket.store, UID, "ns").await.is_err());
}
