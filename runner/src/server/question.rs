//! Questions: one digest over everything that decides an answer; see [`fovea_protocol::Question`].

use super::preprocess::SMALL_BYTES;
use crate::engine::{Served, gone};
use crate::inference::Query;
use bytes::Bytes;
use fovea_protocol::{Problem, Task};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tch::Kind;

/// Version of what this runner makes of a picture and of a model's output. Raise it with every change after
/// which the same picture may get another answer: in decoding, resizing, a model's code, or a task's.
const VERSION: u32 = 1;

#[derive(Clone, Serialize)]
struct Asked<'a> {
    version: u32,
    task: Task,
    model: &'a str,
    revision: &'a str,
    dtype: &'a str,
    /// Digest of the checkpoint's files beside its weights, the processor's configuration among them.
    settings: &'a str,
    /// The parameters with the model's defaults.
    query: &'a Query,
    /// SHA-256 of the picture's bytes.
    picture: &'a str,
}

impl Asked<'_> {
    /// serde writes the fields in their order, so this JSON is canonical. It does not fail: its types have
    /// string keys and no custom code.
    fn digest(&self) -> String {
        let canonical = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(Sha256::digest(canonical))
    }
}

/// The question that `query` is about the picture with this digest; `None` if the model's answers cannot be
/// told from another one's.
pub(super) fn question(model: &Served, query: &Query, picture: &str) -> Option<String> {
    let revision = model.revision().filter(|revision| !revision.is_empty())?;
    let dtype = match model.kind {
        Kind::Float => "float32",
        Kind::BFloat16 => "bfloat16",
        Kind::Half => "float16",
        _ => return None,
    };
    let asked = Asked {
        version: VERSION,
        task: model.front.head.task(),
        model: &model.name,
        revision: &revision,
        dtype,
        settings: &model.front.settings,
        query,
        picture,
    };
    Some(asked.digest())
}

/// SHA-256 in lower-case hexadecimal.
pub(super) async fn sha256(bytes: Bytes) -> Result<String, Problem> {
    let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    if bytes.len() <= SMALL_BYTES {
        return Ok(digest(&bytes));
    }
    let hashing = tokio::task::spawn_blocking(move || digest(&bytes));
    hashing.await.map_err(|_| gone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::CaptionQuery;
    use std::collections::HashSet;

    #[test]
    fn whatever_decides_an_answer_is_in_its_question() {
        let caption = |input_ids: &[i64], max_length, num_beams| {
            Query::Caption(CaptionQuery {
                input_ids: input_ids.to_vec(),
                max_length,
                num_beams,
            })
        };
        let queries = [
            caption(&[1], 20, 1),
            caption(&[1, 2], 20, 1),
            caption(&[1], 21, 1),
            caption(&[1], 20, 2),
            Query::Classify { top_k: 5 },
            Query::Classify { top_k: 6 },
            Query::Detect { threshold: 0.5 },
            Query::Detect { threshold: 0.501 },
        ];
        let one = Asked {
            version: 1,
            task: Task::ImageToText,
            model: "m",
            revision: "r",
            dtype: "float32",
            settings: "s",
            query: &queries[0],
            picture: "p",
        };
        let others = [
            Asked {
                version: 2,
                ..one.clone()
            },
            Asked {
                task: Task::ObjectDetection,
                ..one.clone()
            },
            Asked {
                model: "n",
                ..one.clone()
            },
            Asked {
                revision: "q",
                ..one.clone()
            },
            Asked {
                dtype: "float16",
                ..one.clone()
            },
            Asked {
                settings: "t",
                ..one.clone()
            },
            Asked {
                picture: "q",
                ..one.clone()
            },
        ];
        let mut seen: HashSet<String> = others.iter().map(Asked::digest).collect();
        seen.extend(queries.iter().map(|query| {
            Asked {
                query,
                ..one.clone()
            }
            .digest()
        }));
        assert_eq!(seen.len(), others.len() + queries.len());
        assert_eq!(one.digest(), one.clone().digest());
    }

    #[test]
    fn a_question_never_changes_between_releases_but_by_its_version() {
        let query = Query::Detect { threshold: 0.9 };
        let asked = Asked {
            version: 1,
            task: Task::ObjectDetection,
            model: "detr",
            revision: "sha256:0",
            dtype: "float32",
            settings: "s",
            query: &query,
            picture: "p",
        };
        let json = serde_json::to_string(&asked).unwrap();
        assert_eq!(
            json,
            r#"{"version":1,"task":"object-detection","model":"detr","revision":"sha256:0","dtype":"float32","settings":"s","query":{"Detect":{"threshold":0.9}},"picture":"p"}"#
        );
    }
}
