//! Schemas for kubeconform, made of what an API server says of itself: of exactly its version, and
//! with the definitions that are installed there.

use super::ChartError;
use super::schema::strict;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The value for `--schema-location`, below a folder.
pub const LOCATION: &str = "{{ .Group }}-{{ .ResourceKind }}-{{ .ResourceAPIVersion }}.json";

/// The API server's path for it.
pub const OPENAPI: &str = "/openapi/v2";
const KINDS: &str = "x-kubernetes-group-version-kind";
/// A number or a string in YAML.
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";

/// Writes a schema for each kind of `openapi` into `folder`, named as [`LOCATION`] says.
pub fn write_schemas(openapi: &Value, folder: &Path) -> Result<(), ChartError> {
    let definitions = openapi["definitions"].as_object();
    let definitions = definitions.ok_or_else(|| ChartError::form(OPENAPI, &"no definitions"))?;
    let stay = str::to_owned;
    let mut forms: Map<String, Value> = (definitions.iter())
        .map(|(name, form)| (name.clone(), strict(form, &stay)))
        .collect();
    forms.insert(QUANTITY.to_owned(), json!({"type": ["number", "string"]}));
    for (name, form) in definitions {
        for kind in form[KINDS].as_array().into_iter().flatten() {
            let path = folder.join(file(kind));
            fs::write(&path, schema(name, &forms).to_string())
                .map_err(|source| ChartError::File { path, source })?;
        }
    }
    Ok(())
}

/// The name under which kubeconform searches: the core group is its version.
fn file(kind: &Value) -> String {
    let text = |key: &str| kind[key].as_str().unwrap_or_default();
    let (group, version) = (text("group"), text("version"));
    let group = if group.is_empty() { version } else { group };
    format!("{group}-{}-{version}.json", text("kind").to_lowercase())
}

/// A definition with everything that it references.
fn schema(name: &str, forms: &Map<String, Value>) -> Value {
    let (mut open, mut found) = (BTreeSet::from([name.to_owned()]), Map::new());
    while let Some(name) = open.pop_first() {
        if let Some(form) = forms.get(&name)
            && !found.contains_key(&name)
        {
            references(form, &mut open);
            found.insert(name, form.clone());
        }
    }
    json!({"$ref": format!("#/definitions/{name}"), "definitions": found})
}

fn references(form: &Value, found: &mut BTreeSet<String>) {
    match form {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                found.extend(reference.strip_prefix("#/definitions/").map(str::to_owned));
            }
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_s_schema_has_all_that_it_refers_to_and_refuses_the_rest() {
        let openapi = json!({"definitions": {
            "a.Thing": {
                "type": "object", "properties": {"part": {"$ref": "#/definitions/a.Part"}},
                KINDS: [{"group": "", "version": "v1", "kind": "Thing"}],
            },
            "a.Part": {"type": "object", "properties": {"size": {"$ref": format!("#/definitions/{QUANTITY}")}}},
            "a.Other": {"type": "string"},
            QUANTITY: {"type": "string"},
        }});
        let folder = tempfile::tempdir().unwrap();
        write_schemas(&openapi, folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join("v1-thing-v1.json")).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema["$ref"], "#/definitions/a.Thing");
        assert_eq!(
            schema["definitions"]["a.Part"]["additionalProperties"],
            false
        );
        assert_eq!(
            schema["definitions"][QUANTITY]["type"],
            json!(["number", "string"])
        );
        assert_eq!(schema["definitions"].as_object().unwrap().len(), 3);
    }
}
