//! Condition types of both resources, and the schema of a bounded list of conditions.

use crate::bounds::{MAX_CONDITIONS, MAX_MESSAGE_LENGTH, MAX_REASON_LENGTH};
use schemars::{Schema, SchemaGenerator, json_schema};

/// A job: its spec was understood and a pool takes it. False says why not.
pub const ACCEPTED: &str = "Accepted";
/// A job: a runner has been chosen for it. False says what it waits for.
pub const SCHEDULED: &str = "Scheduled";
/// A job: `spec.suspend` holds it back. False, once it has been resumed: the queue's deadline
/// counts from that transition.
pub const SUSPENDED: &str = "Suspended";
/// A job: it has reached a terminal phase; the reason tells which.
pub const COMPLETE: &str = "Complete";

/// A pool: at least one runner serves every model.
pub const READY: &str = "Ready";
/// A pool: a change is being rolled out.
pub const PROGRESSING: &str = "Progressing";
/// A pool: something needs a person; the message says what.
pub const DEGRADED: &str = "Degraded";

/// `metav1.Condition`s keyed by type, with bounds that Kubernetes' own schema lacks.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "description": "What is told, in CamelCase.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_REASON_LENGTH,
                },
                "status": {
                    "description": "Whether it holds.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, for programs: one word in CamelCase.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_REASON_LENGTH,
                    "pattern": crate::rules::REASON_PATTERN,
                },
                "message": {
                    "description": "Why, for people.",
                    "type": "string",
                    "maxLength": MAX_MESSAGE_LENGTH,
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time",
                },
                "observedGeneration": {
                    "description": "The generation of the spec that this speaks of.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
            },
        },
    })
}
