//! `spec.replicas` where the release leaves it out: somebody else's, such as `kubectl scale` or an autoscaler.

use super::MANAGER;
use fovea_crds::RunnerPool;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// The manager of the replicas that a release has set once and now leaves out.
pub(super) const LEFT: &str = "fovea-chart-replicas";

/// What becomes of a pool's `spec.replicas` when the release applies `spec`.
#[derive(Debug, PartialEq)]
pub(super) enum Replicas {
    /// As in `spec`.
    Set,
    /// With autoscaling, and with external runners, the pool must have no number of its own. A number that
    /// somebody has set is reset to the default.
    Reset,
    /// Stays what it is.
    Kept,
}

pub(super) fn of(spec: &Value) -> Replicas {
    let has = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    if has("replicas") {
        Replicas::Set
    } else if has("autoscaling") || has("external") {
        Replicas::Reset
    } else {
        Replicas::Kept
    }
}

/// What [`LEFT`] must apply before the release leaves out the replicas that it has set: the API server resets
/// a field that nobody applies any more.
pub(super) fn handed_over(live: &RunnerPool) -> Option<Value> {
    let is_set_by_release = live.managed_fields().iter().any(|entry| {
        let fields = entry.fields_v1.as_ref();
        entry.manager.as_deref() == Some(MANAGER)
            && fields.is_some_and(|fields| fields.0["f:spec"].get("f:replicas").is_some())
    });
    is_set_by_release.then(|| json!({"replicas": live.spec.replicas}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(manager: &str, field: &str) -> RunnerPool {
        let pool = json!({
            "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool",
            "metadata": {"name": "a", "managedFields": [
                {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {field: {}}}},
            ]},
            "spec": {"replicas": 3, "models": []},
        });
        serde_json::from_value(pool).unwrap()
    }

    #[test]
    fn replicas_are_kept_where_neither_the_release_nor_the_operator_sets_them() {
        assert_eq!(of(&json!({"replicas": 2})), Replicas::Set);
        assert_eq!(of(&json!({"replicas": null})), Replicas::Kept);
        assert_eq!(of(&json!({"models": []})), Replicas::Kept);
        assert_eq!(of(&json!({"autoscaling": {"max": 2}})), Replicas::Reset);
        assert_eq!(of(&json!({"external": {}})), Replicas::Reset);
    }

    #[test]
    fn only_replicas_that_the_release_has_set_are_handed_over() {
        let handed = handed_over(&live(MANAGER, "f:replicas"));
        assert_eq!(handed, Some(json!({"replicas": 3})));
        assert_eq!(handed_over(&live(MANAGER, "f:models")), None);
        assert_eq!(handed_over(&live("kubectl", "f:replicas")), None);
    }
}
