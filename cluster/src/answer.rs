//! What the API server's answers prove.

/// Whether the API server has no object `name`. A 404 that does not name the object is none of the
/// object's: it comes from a proxy, an aggregation layer, or an API server that does not serve the
/// resource yet.
pub fn is_not_found(error: &kube::Error, name: &str) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let named = status.details.as_ref();
    status.code == 404 && status.reason == "NotFound" && named.is_some_and(|it| it.name == name)
}

/// The object `name`, or `None` if the API server has none.
pub fn found<K>(answer: Result<K, kube::Error>, name: &str) -> Result<Option<K>, kube::Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if is_not_found(&error, name) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use serde_json::json;

    fn error(status: serde_json::Value) -> kube::Error {
        let status: Status = serde_json::from_value(status).unwrap();
        kube::Error::Api(Box::new(status))
    }

    #[test]
    fn only_a_404_that_names_the_object_proves_that_it_is_gone() {
        let of_the_api_server = json!({
            "status": "Failure", "reason": "NotFound", "code": 404,
            "message": "inferencejobs.fovea.dev \"a\" not found",
            "details": {"name": "a", "group": "fovea.dev", "kind": "inferencejobs"},
        });
        assert!(is_not_found(&error(of_the_api_server.clone()), "a"));
        assert!(!is_not_found(&error(of_the_api_server), "b"));
        let not_served = json!({
            "status": "Failure", "reason": "NotFound", "code": 404, "details": {},
            "message": "the server could not find the requested resource",
        });
        let of_a_proxy =
            json!({"reason": "Failed to parse error data", "code": 404, "message": "<html>"});
        let conflict = json!({"reason": "Conflict", "code": 409, "details": {"name": "a"}});
        for other in [not_served, of_a_proxy, conflict] {
            assert!(found::<()>(Err(error(other)), "a").is_err());
        }
    }
}
