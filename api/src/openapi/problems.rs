//! Errors in the description: one response a status, one example a type of problem.

use super::reference;
use crate::error::{Body, ProblemType};
use serde_json::json;
use std::collections::BTreeMap;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::Example;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Content, RefOr};

/// Names the problems that an operation may answer with; the name goes into its `responses(...)`.
macro_rules! problem_set {
    ($name:ident: $($kind:ident),+ $(,)?) => {
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                use $crate::error::ProblemType;
                $crate::openapi::declare(&[$(ProblemType::$kind),+])
            }
        }
    };
}
pub(crate) use problem_set;

pub(crate) fn declare(kinds: &[ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<ProblemType>> = BTreeMap::new();
    for kind in kinds {
        let status = kind.status().as_str().to_owned();
        by_status.entry(status).or_default().push(*kind);
    }
    by_status
        .into_iter()
        .map(|(status, kinds)| (status, RefOr::T(response(&kinds))))
        .collect()
}

fn response(kinds: &[ProblemType]) -> Response {
    let titles: Vec<_> = kinds.iter().map(|kind| kind.title()).collect();
    ResponseBuilder::new()
        .description(format!("{}.", titles.join("; ")))
        .content("application/problem+json", content(kinds))
        .build()
}

fn content(kinds: &[ProblemType]) -> Content {
    let examples = kinds.iter().map(|kind| {
        let uri = kind.uri();
        let name = uri.rsplit(':').next().unwrap_or(uri).to_owned();
        let mut example = Example::new();
        example.value = Some(json!({
            "type": uri,
            "title": kind.title(),
            "status": kind.status().as_u16(),
            "detail": "what happened here, and what to do",
            "instance": "urn:fovea:request:6f9c4f0e-8d4b-4f3a-9d5e-3f1b2c4d5e6f",
        }));
        (name, RefOr::T(example))
    });
    ContentBuilder::new()
        .schema(Some(reference::<Body<'_>>()))
        .examples_from_iter(examples)
        .build()
}
