//! The API's description in OpenAPI 3.1. An operation is described where its handler is, by utoipa;
//! schemas are schemars', which the resources' types have already: in OpenAPI 3.1 a schema is JSON
//! Schema, so that nothing is described twice.

mod docs;
mod problems;

pub(crate) use docs::router as docs;
pub(crate) use problems::{declare, problem_set};

use crate::error;
use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::Value;
use utoipa::openapi::info::{Info, License};
use utoipa::openapi::schema::{Ref, Schema as Inline};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, Paths, RefOr};

/// Where schemas lie in the document.
pub(crate) const SCHEMAS: &str = "/components/schemas";
/// Maximum depth of a schema; ours have a dozen levels.
const MAX_DEPTH: u8 = 64;

/// A reference to the schema of `T`; operations write theirs by hand, `ref("#/components/...")`.
pub(crate) fn reference<T: JsonSchema>() -> RefOr<Inline> {
    RefOr::Ref(Ref::from_schema_name(T::schema_name()))
}

/// The document before any operation is in it.
pub(crate) fn frame() -> OpenApi {
    let mut info = Info::new("Fovea", env!("CARGO_PKG_VERSION"));
    info.description = Some("Image inference on Kubernetes: a picture is uploaded and becomes a job; a runner writes its caption, labels or objects. Jobs are those of the namespace that the header Fovea-Namespace names, or of the installation's own; every path below /v1 is also served below /v1/namespaces/{namespace}.".to_owned());
    info.license = Some(License::new("MIT OR Apache-2.0"));
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description =
        Some("A Kubernetes token, where the service is set up to ask for one.".to_owned());
    let mut components = Components::new();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let mut document = OpenApi::new(info, Paths::new());
    document.components = Some(components);
    document
}

/// A generator of schemas whose references point into the document.
pub(crate) fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = SCHEMAS.into();
    settings.contract = Contract::Serialize;
    settings.into_generator()
}

/// Puts schemas into a document of operations: those that `schemas` asks the generator for, and the
/// schema of a problem.
pub(crate) fn complete(operations: OpenApi, schemas: impl FnOnce(&mut SchemaGenerator)) -> Value {
    let mut generator = generator();
    generator.subschema_for::<error::Body<'_>>();
    schemas(&mut generator);
    let definitions = generator
        .take_definitions(true)
        .into_iter()
        .map(|(name, mut schema)| {
            plain(&mut schema, MAX_DEPTH);
            (name, schema)
        })
        .collect();
    // Serializing a document of strings and maps cannot fail.
    let mut document = serde_json::to_value(operations).unwrap_or_default();
    document["components"]["schemas"] = Value::Object(definitions);
    document
}

/// Without what only the API server reads.
fn plain(schema: &mut Value, depth: u8) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    match schema {
        Value::Object(members) => {
            members.retain(|name, _| !name.starts_with("x-kubernetes"));
            members.values_mut().for_each(|value| plain(value, depth));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| plain(value, depth)),
        _ => {}
    }
}

/// A schema by hand: bytes that are no JSON.
pub(crate) fn binary(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "string", "format": "binary"})
}
