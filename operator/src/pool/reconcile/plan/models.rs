//! The models' weights: available, to be imported, or missing.

use super::{ImportStep, Outlook, PlannedImport};
use crate::pool::build::Build;
use crate::pool::import::ImportState;
use crate::pool::message::Message;
use crate::pool::published::Weights;
use crate::pool::reconcile::Memory;
use crate::pool::reconcile::observe::{Folder, Observed, ObservedImport, ObservedModel};
use crate::pool::weights::{Resolved, WeightsError};
use std::time::Duration;

/// Interval at which a folder that is missing or unusable is checked.
const CHECK_FOLDER_EVERY: Duration = Duration::from_secs(20);

/// Notes the weights that are available, and returns the imports of those that are not.
pub(super) fn plan_models(
    observed: &Observed<'_>,
    memory: &mut Memory,
    build: &Build,
    outlook: &mut Outlook,
) -> Vec<PlannedImport> {
    let models = &observed.models;
    let commits = models.iter().filter_map(|model| {
        let (source, commit) = (model.source.clone()?, model.commit.clone()?);
        Some((source, commit))
    });
    memory.commits = commits.collect();
    let mut imports = Vec::new();
    for model in models {
        let name = &model.model.name;
        if let (Some(source), Some(commit)) = (model.source.clone(), model.commit.clone()) {
            let resolved = Resolved { source, commit };
            outlook.resolved.insert(name.clone(), resolved);
        }
        match plan_model(observed, model, outlook) {
            Availability::Available(weights) => {
                outlook.weights.insert(name.clone(), weights);
            }
            Availability::Missing => {}
            Availability::Importing(import) => {
                imports.extend(plan_import(name, import, build, outlook));
            }
        }
    }
    imports
}

enum Availability<'a> {
    Available(Weights),
    Importing(&'a ObservedImport),
    Missing,
}

fn plan_model<'a>(
    observed: &Observed<'_>,
    model: &'a ObservedModel<'_>,
    outlook: &mut Outlook,
) -> Availability<'a> {
    let Some(weights) = &model.location.weights else {
        // The import finds out which commit the revision is.
        return model
            .import
            .as_ref()
            .map_or(Availability::Missing, Availability::Importing);
    };
    let name = &model.model.name;
    let check_again = observed.after(CHECK_FOLDER_EVERY);
    let message = match (&model.folder, &model.import) {
        (Folder::Unknown | Folder::Complete, _) => return Availability::Available(weights.clone()),
        (Folder::Unconfirmed, _) => {
            outlook.reconcile_at(check_again);
            return Availability::Available(weights.clone());
        }
        (Folder::Unusable(WeightsError::NoManifest(folder)), Some(import)) => {
            if !matches!(import.state, ImportState::Done(Some(_))) {
                return Availability::Importing(import);
            }
            let job = import.import.name();
            Message::new(
                "WeightsMissing",
                format!(
                    "model {name}: Job {job} succeeded, but {folder} has no manifest; if it was deleted, the model is imported again once the Job is gone"
                ),
            )
        }
        (Folder::Unusable(error), _) => {
            let reason = match error {
                WeightsError::Store(_) => "StoreUnavailable",
                WeightsError::NoManifest(_) => "WeightsMissing",
                WeightsError::BadManifest { .. } | WeightsError::Key(_) => "WeightsUnusable",
            };
            Message::new(reason, format!("model {name}: {error}"))
        }
    };
    outlook.faults.push(message);
    outlook.reconcile_at(check_again);
    Availability::Missing
}

/// `None` where nothing can be done about it for now.
fn plan_import(
    model: &str,
    import: &ObservedImport,
    build: &Build,
    outlook: &mut Outlook,
) -> Option<PlannedImport> {
    let mut fault = |reason, text: String| {
        let message = Message::new(reason, format!("model {model}: {text}"));
        outlook.faults.push(message);
    };
    let step = match &import.state {
        ImportState::Absent => ImportStep::Create,
        ImportState::Running(problem) => {
            if let Some(problem) = problem {
                fault(problem.reason, problem.message.clone());
            }
            if import.has_form {
                ImportStep::Wait
            } else {
                ImportStep::Equip
            }
        }
        ImportState::Failed(_) if import.access_changed => ImportStep::Restart,
        ImportState::Failed(failure) => {
            let wait = build.config.import_retry_seconds;
            let text = format!("{}; tried again after {wait} s", failure.message);
            fault(failure.reason, text);
            return None;
        }
        ImportState::Done(_) => {
            let job = import.import.name();
            let text = format!(
                "Job {job} succeeded but did not report a commit; delete the Job to import the model again, or wait until that happens by itself"
            );
            fault("ImportFailed", text);
            return None;
        }
    };
    Some(PlannedImport {
        model: model.to_owned(),
        import: import.clone(),
        step,
    })
}
