//! Query parameters, read strictly: an unknown parameter is an error.

use crate::error::{Problem, ProblemType};
use crate::validate::{FieldError, excerpt};
use http::Uri;
use std::collections::HashMap;

/// Known parameters, each given at most once.
#[derive(Debug)]
pub(crate) struct Query(HashMap<&'static str, String>);

impl Query {
    /// Reads a request's parameters; `names` are the known parameters, as messages list them.
    pub(crate) fn of(uri: &Uri, names: &'static str) -> Result<Self, Problem> {
        let mut found = HashMap::new();
        let query = uri.query().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                let detail = "the query is not valid UTF-8 once percent-decoded";
                return Err(Problem::new(ProblemType::MalformedRequest, detail));
            }
            let parameter = names.split(", ").find(|parameter| *parameter == name);
            let Some(parameter) = parameter else {
                return Err(FieldError::Unknown(excerpt(&name), names).into());
            };
            if found.insert(parameter, value.into_owned()).is_some() {
                return Err(FieldError::Duplicate(parameter.to_owned()).into());
            }
        }
        Ok(Self(found))
    }

    /// Checks that there are no parameters.
    pub(crate) fn none(uri: &Uri) -> Result<(), Problem> {
        let query = uri.query().unwrap_or_default();
        match url::form_urlencoded::parse(query.as_bytes()).next() {
            None => Ok(()),
            Some((name, _)) => {
                Err(FieldError::Unknown(excerpt(&name), "no query parameters").into())
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Result<Query, ProblemType> {
        let uri: Uri = uri.parse().unwrap();
        Query::of(&uri, "limit, phase").map_err(|problem| problem.kind)
    }

    #[test]
    fn a_query_is_read_to_the_letter() {
        let query = read("/?limit=5&phase=a%20b").unwrap();
        assert_eq!(
            (query.get("limit"), query.get("phase")),
            (Some("5"), Some("a b"))
        );
        assert!(read("/").unwrap().get("limit").is_none());
        for (uri, problem) in [
            ("/?Limit=5", ProblemType::UnknownField),
            ("/?limit=5&limit=5", ProblemType::DuplicateField),
            ("/?limit=%ff", ProblemType::MalformedRequest),
            ("/?%ff=1", ProblemType::MalformedRequest),
        ] {
            assert_eq!(read(uri).unwrap_err(), problem, "{uri}");
        }
        let none = |uri: &str| Query::none(&uri.parse().unwrap());
        assert!(none("/").is_ok() && none("/?a=1").is_err() && none("/?=").is_err());
    }
}
