//! Callbacks: recorded with the job, and shown with it.

use super::harness::{Service, send, until};
use super::pictures::jpeg;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const URL: &str = "https://hooks.example.com/fovea?key=a%20b";

#[tokio::test]
async fn a_callback_is_recorded_in_each_of_the_three_forms_and_shown() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let form = Form::new()
        .part("file", Part::bytes(jpeg(90)))
        .text("callbackUrl", URL);
    let url = format!("{}/v1/jobs", api.base);
    for request in [
        api.post(jpeg(90)).query(&[("callbackUrl", URL)]),
        api.http.post(&url).multipart(form),
        api.post_json(&json!({"key": "a.jpg", "callbackUrl": URL})),
    ] {
        let answer = send(request).await?;
        let id = answer.id()?;
        let job = api.jobs.get(&id).await?;
        assert_eq!(
            job.spec.callback.map(|callback| callback.url).as_deref(),
            Some(URL)
        );
        assert_eq!(
            answer.body["callback"],
            json!({"url": URL, "delivered": false, "attempts": 0, "nextAttemptTime": null, "lastError": null})
        );
    }
    let plain = send(api.post(jpeg(90))).await?;
    assert_eq!(plain.body["callback"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn the_delivery_state_of_a_callback_is_shown_with_the_finished_job() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let request = api.post(jpeg(91)).query(&[("callbackUrl", URL)]);
    let id = send(request).await?.id()?;
    api.write_status(&id, json!({"phase": "Cancelled"})).await?;
    // A finished job does not change, but its callback's delivery state does.
    let callback = json!({"delivered": false, "attempts": 3, "lastError": "503"});
    api.write_status(&id, json!({"callback": callback})).await?;
    until("the callback to be shown", || async {
        let shown = api.get(&format!("/v1/jobs/{id}")).await?.body;
        anyhow::ensure!(shown["callback"]["attempts"] == 3, "{shown}");
        anyhow::ensure!(shown["callback"]["lastError"] == "503", "{shown}");
        Ok(())
    })
    .await
}
