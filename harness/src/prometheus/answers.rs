//! Prometheus' HTTP API: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Prometheus, PrometheusError};

type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Labels; `__name__` is the metric.
    pub labels: Labels,
    pub value: f64,
}

/// An alert that is pending or firing.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// Labels; `alertname` is the name.
    pub labels: Labels,
    /// Annotations with the values filled in.
    pub annotations: Labels,
    /// `pending` before its `for` time has passed, then `firing`.
    pub state: String,
    pub value: String,
}

impl Alert {
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The alert's name, or the recorded metric's.
    pub name: String,
    pub query: String,
    /// `ok`, `err`, or `unknown` before the first evaluation.
    pub health: String,
    /// The reason for health `err`.
    #[serde(default)]
    pub last_error: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    pub labels: Labels,
    pub scrape_url: String,
    /// `up`, `down`, or, before the first scrape, `unknown`.
    pub health: String,
    /// The reason for health `down`.
    #[serde(default)]
    pub last_error: String,
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer<T> {
    Success { data: T },
    Error { error: String },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Answered {
    Vector(Vec<Element>),
    Scalar((f64, String)),
}

#[derive(Deserialize)]
struct Element {
    metric: Labels,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    active_targets: Vec<Target>,
}

impl Prometheus {
    /// The current values of an expression; empty if no series matches.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>, PrometheusError> {
        let number = |text: &str| {
            text.parse().map_err(|_| PrometheusError::Refused {
                question: expression.to_owned(),
                why: format!("{text} is no number"),
            })
        };
        let result: Answered = self.get("query", &[("query", expression)]).await?;
        match result {
            Answered::Scalar((_, value)) => Ok(vec![Sample {
                labels: Labels::new(),
                value: number(&value)?,
            }]),
            Answered::Vector(elements) => { elements.into_iter() }
                .map(|Element { metric, value }| {
                    Ok(Sample {
                        labels: metric,
                        value: number(&value.1)?,
                    })
                })
                .collect(),
        }
    }

    /// All alerts that are pending or firing.
    pub async fn alerts(&self) -> Result<Vec<Alert>, PrometheusError> {
        let Alerts { alerts } = self.get("alerts", &[]).await?;
        Ok(alerts)
    }

    pub async fn rules(&self) -> Result<Vec<Rule>, PrometheusError> {
        let Groups { groups } = self.get("rules", &[]).await?;
        Ok(groups.into_iter().flat_map(|group| group.rules).collect())
    }

    pub async fn targets(&self) -> Result<Vec<Target>, PrometheusError> {
        let Targets { active_targets } = self.get("targets", &[("state", "active")]).await?;
        Ok(active_targets)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, PrometheusError> {
        let url = format!("{}/api/v1/{path}", self.url());
        let answer = self.http.get(url).query(query).send().await?;
        match answer.json().await? {
            Answer::Success { data } => Ok(data),
            Answer::Error { error } => Err(PrometheusError::Refused {
                question: query.first().map_or(path, |(_, value)| value).to_owned(),
                why: error,
            }),
        }
    }
}
