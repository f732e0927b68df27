//! The item of a line, checked as the API server checks a job's spec. A bad line is a failed item that names
//! its line. Pure.

use super::super::PlanItem;
use fovea_crds::bounds::{
    MAX_BEAMS, MAX_MESSAGE_LENGTH, MAX_NEW_TOKENS, MAX_PERMILLE, MAX_PROMPT_LENGTH, MAX_TOP_K,
};
use fovea_crds::clip;
use fovea_protocol::{Parameters, RowError, Task};
use fovea_store::{MAX_KEY_BYTES, ObjectKey};

/// Maximum length of an id, in characters.
const MAX_ID_LENGTH: usize = 512;

/// What a line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: String,
    pub id: Option<String>,
    pub parameters: Parameters,
}

/// Reasons of failed items, in their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Line,
    Key,
    Parameters,
}

impl Fault {
    fn reason(self) -> &'static str {
        match self {
            Self::Line => "InvalidLine",
            Self::Key => "InvalidKey",
            Self::Parameters => "InvalidParameters",
        }
    }
}

/// What items are checked against.
#[derive(Debug)]
pub(super) struct Checks {
    namespace: String,
    task: Task,
}

impl Checks {
    pub(super) fn new(namespace: &str, task: Task) -> Self {
        let namespace = namespace.to_owned();
        Self { namespace, task }
    }

    /// The item of the line `number`.
    pub(super) fn item(&self, number: u64, entry: Entry) -> PlanItem {
        if let Some((fault, what)) = self.fault(&entry) {
            return failed(number, fault, &what, (entry.key, entry.id));
        }
        let Entry {
            key,
            id,
            parameters,
        } = entry;
        let is_default = parameters == Parameters::default();
        PlanItem {
            key,
            id: id.filter(|id| !id.is_empty()),
            parameters: (!is_default).then_some(parameters),
            ..PlanItem::default()
        }
    }

    fn fault(&self, entry: &Entry) -> Option<(Fault, String)> {
        if let Err(why) = ObjectKey::data(&self.namespace, &entry.key) {
            return Some((Fault::Key, why.to_string()));
        }
        if entry.id.as_ref().is_some_and(|id| !is_id(id)) {
            let what = format!("an id has at most {MAX_ID_LENGTH} characters");
            return Some((Fault::Line, what));
        }
        if let Some(foreign) = entry.parameters.foreign_to(self.task) {
            let what = format!("the parameter {foreign} belongs to another task: leave it out");
            return Some((Fault::Parameters, what));
        }
        out_of_bounds(&entry.parameters).map(|what| (Fault::Parameters, what))
    }
}

fn is_id(id: &str) -> bool {
    id.len() <= MAX_ID_LENGTH || id.chars().count() <= MAX_ID_LENGTH
}

/// The item of a line that cannot be one. Its key and id are as the line has them, as far as they are known.
pub(super) fn failed(
    number: u64,
    fault: Fault,
    what: &str,
    (mut key, id): (String, Option<String>),
) -> PlanItem {
    key.truncate(key.floor_char_boundary(MAX_KEY_BYTES));
    let message = format!("line {number} of the manifest: {what}");
    PlanItem {
        key,
        id: id.filter(|id| !id.is_empty() && is_id(id)),
        error: Some(RowError {
            reason: fault.reason().to_owned(),
            message: clip::clip(&message, MAX_MESSAGE_LENGTH),
        }),
        ..PlanItem::default()
    }
}

/// The bounds of the resource's schema.
fn out_of_bounds(parameters: &Parameters) -> Option<String> {
    let Parameters {
        max_new_tokens,
        num_beams,
        prompt,
        top_k,
        score_threshold_permille,
    } = parameters;
    let numbers = [
        ("maxNewTokens", *max_new_tokens, 1..=MAX_NEW_TOKENS),
        ("numBeams", *num_beams, 1..=MAX_BEAMS),
        ("topK", *top_k, 1..=MAX_TOP_K),
        (
            "scoreThresholdPermille",
            *score_threshold_permille,
            0..=MAX_PERMILLE,
        ),
    ];
    for (name, value, bounds) in numbers {
        if value.is_some_and(|value| !bounds.contains(&value)) {
            let (least, most) = bounds.into_inner();
            return Some(format!("{name} must be a number from {least} to {most}"));
        }
    }
    let length = prompt.as_ref().map(|prompt| prompt.chars().count());
    let fits = length.is_none_or(|length| (1..=MAX_PROMPT_LENGTH as usize).contains(&length));
    (!fits).then(|| format!("prompt must have 1 to {MAX_PROMPT_LENGTH} characters"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// For captions in the namespace `ns`.
    pub(in super::super) fn checks() -> Checks {
        Checks::new("ns", Task::ImageToText)
    }

    fn entry(key: &str) -> Entry {
        Entry {
            key: key.to_owned(),
            ..Entry::default()
        }
    }

    #[track_caller]
    fn assert_fails(entry: &Entry, reason: &str, part: &str) {
        let item = checks().item(17, entry.clone());
        let error = item.error.unwrap_or_else(|| panic!("{entry:?} is good"));
        assert_eq!(error.reason, reason);
        let RowError { message, .. } = error;
        assert!(
            message.starts_with("line 17 of the manifest: "),
            "{message}"
        );
        assert!(message.contains(part), "{message}");
        assert_eq!(item.parameters, None);
    }

    #[test]
    fn a_good_entry_is_an_item_without_what_it_does_not_need() {
        let plain = checks().item(1, entry("a b+ü%.jpg".trim_end_matches("%.jpg")));
        assert_eq!(plain.error, None);
        assert_eq!((plain.id, plain.parameters), (None, None));
        let prompt = Some("a photo of".to_owned());
        let full = checks().item(
            1,
            Entry {
                id: Some("7".to_owned()),
                parameters: Parameters {
                    prompt: prompt.clone(),
                    num_beams: Some(10),
                    ..Parameters::default()
                },
                ..entry("a.jpg")
            },
        );
        assert_eq!(full.error, None);
        assert_eq!(full.id.as_deref(), Some("7"));
        assert_eq!(full.parameters.unwrap().prompt, prompt);
    }

    #[test]
    fn a_key_outside_of_the_folder_is_a_failed_item() {
        for key in [
            "",
            "..",
            "../other/a.jpg",
            "a//b.jpg",
            "/a.jpg",
            "a%2e.jpg",
            "a\n.jpg",
        ] {
            assert_fails(&entry(key), "InvalidKey", "an object key");
        }
        let long = checks().item(1, entry(&"ü".repeat(40_000)));
        assert!(long.error.is_some() && long.key.len() <= MAX_KEY_BYTES);
    }

    #[test]
    fn parameters_of_another_task_or_out_of_bounds_are_a_failed_item() {
        let with = |set: fn(&mut Parameters)| {
            let mut entry = entry("a.jpg");
            set(&mut entry.parameters);
            entry
        };
        for (entry, part) in [
            (
                with(|all| all.top_k = Some(1)),
                "topK belongs to another task",
            ),
            (
                with(|all| all.num_beams = Some(0)),
                "numBeams must be a number from 1 to 10",
            ),
            (with(|all| all.max_new_tokens = Some(513)), "from 1 to 512"),
            (
                with(|all| all.prompt = Some(String::new())),
                "1 to 512 characters",
            ),
            (
                with(|all| all.prompt = Some("x".repeat(513))),
                "1 to 512 characters",
            ),
        ] {
            assert_fails(&entry, "InvalidParameters", part);
        }
        assert_eq!(
            checks().item(1, with(|all| all.num_beams = Some(1))).error,
            None
        );
    }

    #[test]
    fn an_id_is_bounded() {
        let with = |id: String| Entry {
            id: Some(id),
            ..entry("a.jpg")
        };
        assert_fails(
            &with("x".repeat(513)),
            "InvalidLine",
            "at most 512 characters",
        );
        assert_eq!(checks().item(1, with("ü".repeat(512))).error, None);
    }
}
