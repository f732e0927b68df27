//! The strict schema of the chart's values: types from values.yaml, bounds from schema.yaml, Kubernetes' own
//! types, and RunnerPool's definition. A value without any of them is an error.

use super::{CHART, ChartError, read};
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::{IngressTLS, NetworkPolicyEgressRule, NetworkPolicyPeer};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const VALUES: &str = "charts/fovea/values.yaml";
const REFINEMENTS: &str = "charts/fovea/schema.yaml";
const POOLS: &str = "manifests/crds/runnerpools.fovea.dev.yaml";

const DEFINITIONS: &str = "$defs";
/// The definition of a pool.
const POOL: &str = "RunnerPoolSpec";
/// Keywords for people or the API server only, and defaults, which helm ignores.
const DROPPED: [&str; 4] = ["description", "default", "format", "nullable"];

pub(super) fn file() -> Result<(String, String), ChartError> {
    let schema = schema(&yaml(VALUES)?, &yaml(REFINEMENTS)?, &yaml(POOLS)?)
        .map_err(|why| ChartError::form(REFINEMENTS, &why))?;
    let text = serde_json::to_string_pretty(&schema)
        .map_err(|error| ChartError::form(REFINEMENTS, &error))?;
    Ok((format!("{CHART}/values.schema.json"), text + "\n"))
}

fn yaml(path: &str) -> Result<Value, ChartError> {
    fovea_crds::yaml::parse(&read(path)?).map_err(|error| ChartError::form(path, &error))
}

/// The whole schema; the error says what is wrong with the refinements.
fn schema(values: &Value, refinements: &Value, pools: &Value) -> Result<Value, String> {
    let mut refinements = Refinements::of(refinements)?;
    let mut schema = refinements.form("", values)?;
    refinements.are_used()?;
    // Values from a parent chart; nothing here reads them.
    schema["properties"]["global"] = json!({"type": "object"});
    let mut definitions = kubernetes();
    definitions.insert(POOL.to_owned(), pool(pools)?);
    definitions.extend(refinements.definitions);
    schema[DEFINITIONS] = Value::Object(reached(&schema, &definitions)?);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Values of the chart fovea".into();
    Ok(schema)
}

/// schema.yaml, by paths of values.
struct Refinements {
    by_path: BTreeMap<String, Map<String, Value>>,
    definitions: Map<String, Value>,
    used: BTreeSet<String>,
}

impl Refinements {
    fn of(file: &Value) -> Result<Self, String> {
        let fields = file.as_object().ok_or("it is no map")?;
        let (mut by_path, mut definitions) = (BTreeMap::new(), Map::new());
        for (path, form) in fields {
            let form = (form.as_object()).ok_or_else(|| format!("{path} is no map"))?;
            if path == DEFINITIONS {
                definitions.clone_from(form);
            } else {
                by_path.insert(path.clone(), form.clone());
            }
        }
        Ok(Self {
            by_path,
            definitions,
            used: BTreeSet::new(),
        })
    }

    fn form(&mut self, path: &str, value: &Value) -> Result<Value, String> {
        let refined = self.by_path.get(path).cloned().unwrap_or_default();
        if !refined.is_empty() {
            self.used.insert(path.to_owned());
        }
        // These contain the type.
        if ["$ref", "type", "anyOf"]
            .iter()
            .any(|key| refined.contains_key(*key))
        {
            return Ok(Value::Object(refined));
        }
        let untold = || format!("{path} is empty in values.yaml: tell its form");
        let mut form = match value {
            Value::Bool(_) => json!({"type": "boolean"}),
            Value::String(_) => json!({"type": "string"}),
            Value::Number(number) if number.is_f64() => json!({"type": "number", "minimum": 0}),
            Value::Number(_) => json!({"type": "integer", "minimum": 0}),
            Value::Object(fields) if !fields.is_empty() => {
                let mut properties = Map::new();
                for (name, value) in fields {
                    let below = match path {
                        "" => name.clone(),
                        _ => format!("{path}.{name}"),
                    };
                    properties.insert(name.clone(), self.form(&below, value)?);
                }
                json!({"type": "object", "additionalProperties": false, "properties": properties})
            }
            Value::Null | Value::Array(_) | Value::Object(_) => return Err(untold()),
        };
        for (key, value) in refined {
            form[key] = value;
        }
        Ok(form)
    }

    /// Fails if an entry of schema.yaml belongs to no value.
    fn are_used(&self) -> Result<(), String> {
        let unused = self.by_path.keys().find(|path| !self.used.contains(*path));
        unused.map_or(Ok(()), |path| {
            Err(format!("{path} is not a value of values.yaml"))
        })
    }
}

/// Kubernetes' own types, by their short names.
fn kubernetes() -> Map<String, Value> {
    let mut generator = SchemaGenerator::default();
    generator.subschema_for::<core::Affinity>();
    generator.subschema_for::<core::EnvVar>();
    generator.subschema_for::<core::PodSecurityContext>();
    generator.subschema_for::<core::ResourceRequirements>();
    generator.subschema_for::<core::SecurityContext>();
    generator.subschema_for::<core::Toleration>();
    generator.subschema_for::<core::TopologySpreadConstraint>();
    generator.subschema_for::<core::Volume>();
    generator.subschema_for::<core::VolumeMount>();
    generator.subschema_for::<HorizontalPodAutoscalerBehavior>();
    generator.subschema_for::<IngressTLS>();
    generator.subschema_for::<MetricSpec>();
    generator.subschema_for::<NetworkPolicyEgressRule>();
    generator.subschema_for::<NetworkPolicyPeer>();
    let definitions = generator.take_definitions(true);
    let each = definitions
        .into_iter()
        .map(|(name, form)| (short(&name), strict(&form, &by_short_name)));
    each.collect()
}

/// `io.k8s.api.core.v1.Affinity` as `Affinity`.
fn short(name: &str) -> String {
    name.rsplit(['.', '/']).next().unwrap_or(name).to_owned()
}

/// A pool's spec as the chart takes it: with a switch, and whole only where that is on.
fn pool(definition: &Value) -> Result<Value, String> {
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let spec = definition
        .pointer(path)
        .ok_or_else(|| format!("{POOLS} has no {path}"))?;
    let mut form = strict(spec, &by_short_name);
    let required = form["required"].take();
    if let Some(fields) = form.as_object_mut() {
        fields.remove("required");
    }
    form["properties"]["enabled"] = json!({"type": "boolean"});
    // In one file of values, to leave out what another one sets.
    form["properties"]["replicas"]["type"] = json!(["integer", "null"]);
    form["if"] = json!({"properties": {"enabled": {"const": true}}, "required": ["enabled"]});
    form["then"] = json!({"required": required});
    Ok(form)
}

/// Converts an OpenAPI schema to a JSON schema that rejects unknown fields; `refer` maps references.
pub(super) fn strict(form: &Value, refer: &impl Fn(&str) -> String) -> Value {
    match form {
        Value::Object(fields) => Value::Object(strict_object(fields, refer)),
        Value::Array(items) => items.iter().map(|item| strict(item, refer)).collect(),
        other => other.clone(),
    }
}

fn strict_object(
    fields: &Map<String, Value>,
    refer: &impl Fn(&str) -> String,
) -> Map<String, Value> {
    let either = fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true))
        || fields.get("format").and_then(Value::as_str) == Some("int-or-string");
    if either {
        // A quantity is a number or a string in YAML.
        return Map::from_iter([("type".to_owned(), json!(["number", "string"]))]);
    }
    let mut strict_fields = Map::new();
    for (key, value) in fields {
        let value = match key.as_str() {
            "properties" => names(value, refer),
            "$ref" => refer(value.as_str().unwrap_or_default()).into(),
            // A word's place says what it is: a property of that name is below `properties`.
            key if DROPPED.contains(&key) || key.starts_with("x-kubernetes-") => continue,
            _ => strict(value, refer),
        };
        strict_fields.insert(key.clone(), value);
    }
    let open = fields.contains_key("additionalProperties")
        || fields.contains_key("x-kubernetes-preserve-unknown-fields");
    if fields.contains_key("properties") && !open {
        strict_fields.insert("additionalProperties".to_owned(), false.into());
    }
    strict_fields
}

/// Properties by name: none of the names is a word of the schema.
fn names(properties: &Value, refer: &impl Fn(&str) -> String) -> Value {
    let each = properties.as_object().into_iter().flatten();
    let each = each.map(|(name, form)| (name.clone(), strict(form, refer)));
    Value::Object(each.collect())
}

fn by_short_name(reference: &str) -> String {
    format!("#/{DEFINITIONS}/{}", short(reference))
}

/// Definitions that the schema references, directly or not.
fn reached(schema: &Value, definitions: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut found = Map::new();
    let mut open = references(schema);
    while let Some(name) = open.pop_first() {
        if found.contains_key(&name) {
            continue;
        }
        let form = (definitions.get(&name)).ok_or_else(|| format!("there is no {name}"))?;
        open.extend(references(form));
        found.insert(name, form.clone());
    }
    Ok(found)
}

fn references(form: &Value) -> BTreeSet<String> {
    match form {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).map(short);
            own.into_iter()
                .chain(fields.values().flat_map(references))
                .collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(values: &Value, refinements: &Value) -> Result<Value, String> {
        let pools: Value = yaml(POOLS).unwrap();
        schema(values, refinements, &pools)
    }

    #[test]
    fn a_value_has_the_type_of_its_default_unless_schema_yaml_has_more() {
        let values = json!({"a": {"on": true, "count": 2, "share": 0.5, "word": "x"}, "list": []});
        let refinements = json!({
            "a.word": {"enum": ["x", "y"]}, "list": {"$ref": "#/$defs/words"},
            "$defs": {"words": {"type": "array"}, "unused": {"type": "null"}},
        });
        let schema = made(&values, &refinements).unwrap();
        let a = &schema["properties"]["a"];
        assert_eq!(a["additionalProperties"], false);
        assert_eq!(a["properties"]["on"], json!({"type": "boolean"}));
        assert_eq!(
            a["properties"]["count"],
            json!({"type": "integer", "minimum": 0})
        );
        assert_eq!(
            a["properties"]["share"],
            json!({"type": "number", "minimum": 0})
        );
        assert_eq!(
            a["properties"]["word"],
            json!({"type": "string", "enum": ["x", "y"]})
        );
        assert_eq!(schema["$defs"], json!({"words": {"type": "array"}}));
    }

    #[test]
    fn neither_a_value_without_a_form_nor_a_form_without_a_value_passes() {
        let untold = made(&json!({"a": {"list": []}}), &json!({})).unwrap_err();
        assert!(untold.contains("a.list"), "{untold}");
        let unused = made(&json!({"a": 1}), &json!({"b": {"minimum": 1}})).unwrap_err();
        assert!(unused.contains('b'), "{unused}");
        let nowhere = made(&json!({"a": 1}), &json!({"a": {"$ref": "#/$defs/no"}})).unwrap_err();
        assert!(nowhere.contains("no"), "{nowhere}");
    }

    #[test]
    fn kubernetes_types_refuse_what_they_do_not_name() {
        let form = json!({
            "type": "object", "description": "words",
            "properties": {
                "description": {"type": "string", "format": "int32"},
                "port": {"x-kubernetes-int-or-string": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "more": {"$ref": "#/$defs/io.k8s.api.core.v1.Volume"},
            },
        });
        let expected = json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "description": {"type": "string"},
                "port": {"type": ["number", "string"]},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "more": {"$ref": "#/$defs/Volume"},
            },
        });
        assert_eq!(strict(&form, &by_short_name), expected);
    }
}
