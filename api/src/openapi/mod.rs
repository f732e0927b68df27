//! The API's description in OpenAPI 3.1. An operation is described where its handler is, by utoipa;
//! schemas are schemars', which the resources' types have already: in OpenAPI 3.1 a schema is JSON
//! Schema, so that nothing has to be said twice.

mod docs;
mod problems;

pub(crate) use docs::router as docs;
pub(crate) use problems::{declare, problem_set};

use crate::routes::health::Report;
use crate::routes::{compat, jobs, pools};
use crate::{app, config::CompatConfig, error};
use schemars::generate::{Contract, SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::Value;
use utoipa::openapi::info::{Info, License};
use utoipa::openapi::schema::{Ref, Schema as Inline};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, Paths, RefOr};

/// Where schemas lie in the document.
const SCHEMAS: &str = "/components/schemas";
/// Most levels of a schema that are looked at; ours have a dozen.
const MAX_DEPTH: u8 = 64;

/// A reference to the schema of `T`; operations write theirs by hand, `ref("#/components/...")`.
pub(crate) fn reference<T: JsonSchema>() -> RefOr<Inline> {
    RefOr::Ref(Ref::from_schema_name(T::schema_name()))
}

/// What operations refer to; what these refer to in turn comes along. A test holds the two together.
fn schemas(config: &CompatConfig, generator: &mut SchemaGenerator) {
    generator.subschema_for::<error::Body<'_>>();
    generator.subschema_for::<Report>();
    generator.subschema_for::<jobs::JobView>();
    generator.subschema_for::<jobs::JobList>();
    generator.subschema_for::<jobs::events::JobEvent>();
    generator.subschema_for::<pools::PoolList>();
    generator.subschema_for::<pools::ModelList>();
    generator.subschema_for::<jobs::JobForm>();
    generator.subschema_for::<jobs::JobJson>();
    generator.subschema_for::<jobs::PictureBody>();
    compat::schemas(config, generator);
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

/// The whole document as it is served, of the families of routes that are switched on.
pub fn document(config: &CompatConfig) -> Value {
    complete(config, app::routes(config).into_openapi())
}

/// Puts the schemas into a document of operations.
pub(crate) fn complete(config: &CompatConfig, operations: OpenApi) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = SCHEMAS.into();
    settings.contract = Contract::Serialize;
    let mut generator = settings.into_generator();
    schemas(config, &mut generator);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use clap::Parser as _;

    fn document() -> Value {
        super::document(&Config::parse_from(["fovea-api"]).compat)
    }

    fn walk(value: &Value, see: &mut impl FnMut(&str, &Value)) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    see(name, member);
                    walk(member, see);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, see)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_every_schema_is_referred_to() {
        let document = document();
        let mut seen = std::collections::BTreeSet::new();
        walk(&document, &mut |name, value| {
            if name == "$ref" {
                seen.insert(value.as_str().unwrap().to_owned());
            }
        });
        for reference in &seen {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
        {
            let reference = format!("#{SCHEMAS}/{name}");
            assert!(seen.contains(&reference), "{reference} is not used");
        }
    }

    #[test]
    fn every_operation_tells_its_purpose_its_answers_and_its_errors() {
        let document = document();
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let told = |member: &str| operation[member].as_str().unwrap_or_default();
                assert!(!told("summary").is_empty(), "{method} {path}");
                assert!(
                    ids.insert(told("operationId").to_owned()),
                    "{method} {path}"
                );
                assert!(operation["tags"].is_array(), "{method} {path}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(
                    responses.keys().any(|status| status.starts_with('2')),
                    "{method} {path}"
                );
                for (status, response) in responses {
                    let empty = ["204", "307"].contains(&status.as_str());
                    assert!(
                        empty || response["content"].is_object(),
                        "{method} {path} {status}"
                    );
                }
            }
        }
        assert_eq!(document["openapi"], "3.1.0");
    }

    #[test]
    fn nothing_of_the_api_server_s_own_is_left() {
        walk(&document(), &mut |name, _| {
            assert!(!name.starts_with("x-kubernetes"), "{name}");
        });
    }

    #[test]
    fn a_family_that_is_switched_off_is_not_described() {
        let flags = ["fovea-api", "--compat-async-vision=false"];
        let document = super::document(&Config::parse_from(flags).compat);
        assert!(document["paths"].get("/api/v1/upload").is_none());
        assert!(document["paths"].get("/upload-image").is_some());
    }
}
