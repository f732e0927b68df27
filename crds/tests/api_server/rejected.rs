//! Specs that are wrong in one place, in `rejected/*.yaml`: each is refused, for the field and in
//! the words that its row says.

use crate::fixture::{Fixture, job, pool, set};
use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use fovea_crds::yaml;
use futures::{StreamExt, stream};
use kube::core::Status;
use serde::Deserialize;
use serde_json::{Map, Value};

const AT_ONCE: usize = 8;

/// One row of a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    what: String,
    /// In the order of the file, which a map of JSON would lose.
    set: yaml::Mapping,
    field: Option<String>,
    says: String,
}

#[tokio::test]
async fn a_wrong_job_is_refused_in_words_that_say_what_to_write() -> Result<()> {
    all_refused(job("wrong"), include_str!("rejected/jobs.yaml")).await
}

#[tokio::test]
async fn a_wrong_pool_is_refused_in_words_that_say_what_to_write() -> Result<()> {
    all_refused(pool("wrong"), include_str!("rejected/pools.yaml")).await
}

async fn all_refused(base: Value, table: &str) -> Result<()> {
    let rows: Vec<Row> = yaml::parse(table)?;
    ensure!(rows.len() >= 50, "only {} rows", rows.len());
    let fixture = Fixture::new().await?;
    ensure!(fixture.dry_run(&base).await.is_ok(), "the base is refused");
    let complaints: Vec<String> = stream::iter(&rows)
        .map(|row| row.complaint(&fixture, &base))
        .buffered(AT_ONCE)
        .filter_map(|complaint: Result<_>| async { complaint.transpose() })
        .map(|complaint| complaint.unwrap_or_else(|error| format!("{error:#}")))
        .collect()
        .await;
    let (wrong, all) = (complaints.len(), rows.len());
    ensure!(
        wrong == 0,
        "{wrong} of {all} rows:\n  {}",
        complaints.join("\n  ")
    );
    Ok(())
}

impl Row {
    /// What went otherwise than the row says.
    async fn complaint(&self, fixture: &Fixture, base: &Value) -> Result<Option<String>> {
        let mut object = base.clone();
        let mut first = None;
        for (path, value) in &self.set {
            let path = path.as_str().context("a path that is no text")?;
            first = first.or(Some(path));
            set(&mut object, path, expanded(serde_json::to_value(value)?)?);
        }
        let field = self.field.as_deref().or(first).context("nothing is set")?;
        Ok(match fixture.dry_run(&object).await {
            Ok(_) => Some(format!("{}: taken", self.what)),
            Err(status) if self.is_said_by(&status, field) => None,
            Err(status) => Some(format!("{}: {}", self.what, status.message)),
        })
    }

    /// A 422 names the field in its causes; the 400 of an unknown field names it in its message.
    fn is_said_by(&self, status: &Status, field: &str) -> bool {
        let mut causes = status.details.iter().flat_map(|details| &details.causes);
        match status.code {
            422 => causes.any(|cause| cause.field == field && cause.message.contains(&self.says)),
            400 => status
                .message
                .contains(&format!("{} \"{field}\"", self.says)),
            _ => false,
        }
    }
}

/// Writes out what would be too long for a line.
fn expanded(value: Value) -> Result<Value> {
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Array(items) => {
            let items = items.into_iter().map(expanded);
            return Ok(Value::Array(items.collect::<Result<_>>()?));
        }
        value => return Ok(value),
    };
    if let Some(Value::Array(repeat)) = fields.get("$repeat") {
        let times = repeat[1].as_u64().context("how many times?")?;
        let times = usize::try_from(times)?;
        return Ok(match &repeat[0] {
            Value::String(text) => text.repeat(times).into(),
            item => vec![item.clone(); times].into(),
        });
    }
    if let Some(Value::Number(bytes)) = fields.get("$bytes") {
        let bytes = bytes.as_u64().context("how many bytes?")?;
        return Ok(STANDARD.encode(vec![0xff; usize::try_from(bytes)?]).into());
    }
    let fields = fields
        .into_iter()
        .map(|(name, value)| Ok((name, expanded(value)?)));
    Ok(Value::Object(fields.collect::<Result<Map<_, _>>>()?))
}
