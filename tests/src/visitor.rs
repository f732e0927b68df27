//! A user outside the cluster: over TLS, through the ingress, by its name.

use anyhow::{Context as _, Result, anyhow, ensure};
use fovea_harness::eventually;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// Bound on a job, for a busy machine.
const ENDED: Duration = Duration::from_mins(3);

#[derive(Clone, Debug)]
pub struct Visitor {
    http: reqwest::Client,
    base: String,
    jobs: String,
    token: Option<String>,
}

impl Visitor {
    /// Resolves `host` to `address` and trusts `authority` (PEM).
    pub fn new(host: &str, address: SocketAddr, authority: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .resolve(host, address)
            .tls_certs_only([reqwest::Certificate::from_pem(authority.as_bytes())?])
            .timeout(Duration::from_mins(1))
            .build()?;
        let base = format!("https://{host}:{}", address.port());
        Ok(Self::at(http, base))
    }

    /// Without TLS, at `base`, such as `http://127.0.0.1:8000`.
    pub fn plain(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy();
        let http = http.timeout(Duration::from_mins(1)).build()?;
        Ok(Self::at(http, base.to_owned()))
    }

    fn at(http: reqwest::Client, base: String) -> Self {
        let (jobs, token) = ("/v1/jobs".to_owned(), None);
        Self {
            http,
            base,
            jobs,
            token,
        }
    }

    /// The same with a bearer token.
    #[must_use]
    pub fn with_token(&self, token: String) -> Self {
        Self {
            token: Some(token),
            ..self.clone()
        }
    }

    /// The same, for jobs of `namespace`.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self {
            jobs: format!("/v1/namespaces/{namespace}/jobs"),
            ..self.clone()
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A GET; the answer's status and body.
    pub async fn get(&self, path: &str) -> Result<(u16, Value)> {
        self.send(self.http.get(self.url(path))).await
    }

    /// A POST of a form with a picture in its field `file`, and more fields.
    pub async fn upload(
        &self,
        path: &str,
        picture: &[u8],
        fields: &[(&str, &str)],
    ) -> Result<(u16, Value)> {
        let part = Part::bytes(picture.to_vec()).file_name("picture.jpg");
        let form = Form::new().part("file", part);
        let form = (fields.iter()).fold(form, |form, (name, value)| {
            form.text((*name).to_owned(), (*value).to_owned())
        });
        self.send(self.http.post(self.url(path)).multipart(form))
            .await
    }

    /// Polls `path` until the answer's `field` is none of `waiting`; returns the answer.
    pub async fn ended(&self, path: &str, field: &str, waiting: &[&str]) -> Result<Value> {
        let what = format!("{path} to end");
        let found = eventually(&what, ENDED, async || {
            let (status, job) = self.get(path).await?;
            match job[field].as_str() {
                Some(phase) if status == 200 && !waiting.contains(&phase) => Ok(job),
                phase => Err(anyhow!("{status}, {phase:?}: {job}")),
            }
        });
        Ok(found.await?)
    }

    /// Submits a picture; returns the status and the job or problem.
    pub async fn submit(&self, picture: &[u8], fields: &[(&str, &str)]) -> Result<(u16, Value)> {
        self.upload(&self.jobs, picture, fields).await
    }

    pub async fn job(&self, id: &str) -> Result<(u16, Value)> {
        self.get(&format!("{}/{id}", self.jobs)).await
    }

    /// Submits a picture, waits for the job's end and returns the job.
    pub async fn submitted_and_ended(
        &self,
        picture: &[u8],
        fields: &[(&str, &str)],
    ) -> Result<Value> {
        let (status, job) = self.submit(picture, fields).await?;
        ensure!(status == 202, "{status}: {job}");
        self.job_ended(&job["id"]).await
    }

    /// Waits for the end of a job, and returns it.
    pub async fn job_ended(&self, id: &Value) -> Result<Value> {
        let path = format!("{}/{}", self.jobs, id.as_str().context("an id")?);
        self.ended(&path, "phase", &["Pending", "Running"]).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Value)> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let body = serde_json::from_str(&text);
        Ok((status, body.unwrap_or(Value::String(text))))
    }
}
