//! Files generated from the chart: the schema of its values, its README, its renders with the values of
//! `ci/`, and the plain manifests. Each is committed; `check` names the outdated ones.

pub mod conform;
mod install;
mod readme;
pub mod render;
mod schema;

use fovea_harness::stack::repository;
use fovea_setup::SetupError;
use fovea_setup::cache::{Cache, CacheError};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Path below the checkout.
pub const CHART: &str = "charts/fovea";
/// Renders by the names of their values.
const GOLDEN: &str = "tests/chart/golden";
const MANIFESTS: &str = "manifests/install";
/// Folders with only generated files: any other file there is an error.
const WHOLE: [&str; 2] = [GOLDEN, MANIFESTS];

#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Tool(#[from] SetupError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A file that is no YAML, or not of the form that it should have.
    #[error("{file}: {why}")]
    Form { file: String, why: String },
    #[error("not current: {}: run `make generate`", .0.join(", "))]
    Outdated(Vec<String>),
}

impl ChartError {
    pub(crate) fn form(file: &str, why: &impl ToString) -> Self {
        Self::Form {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Generated files by their paths below the checkout.
type Files = BTreeMap<String, String>;

pub fn generate() -> Result<(), ChartError> {
    let cache = Cache::from_env()?;
    let tools = render::Tools::ensure(&cache)?;
    // The others are rendered by helm, which holds values against it.
    write(&Files::from([schema::file()?]))?;
    let files = rest(&tools)?;
    for stray in strays(&files)? {
        let path = repository().join(&stray);
        fs::remove_file(&path).map_err(|source| ChartError::File { path, source })?;
    }
    write(&files)
}

/// Fails where a file is not what [`generate`] would write.
pub fn check() -> Result<(), ChartError> {
    let cache = Cache::from_env()?;
    let tools = render::Tools::ensure(&cache)?;
    let (path, text) = schema::file()?;
    let mut outdated = outdated(&Files::from([(path, text)]));
    if outdated.is_empty() {
        let files = rest(&tools)?;
        outdated = self::outdated(&files);
        outdated.extend(strays(&files)?);
    }
    if outdated.is_empty() {
        Ok(())
    } else {
        Err(ChartError::Outdated(outdated))
    }
}

fn rest(tools: &render::Tools) -> Result<Files, ChartError> {
    let mut files = Files::from([readme::file(tools)?]);
    for values in render::values()? {
        let text = render::golden(tools, &values)?;
        files.insert(format!("{GOLDEN}/{}.yaml", values.name), text);
    }
    files.extend(install::files(tools)?);
    Ok(files)
}

fn outdated(files: &Files) -> Vec<String> {
    let differs = |path: &str, text: &str| {
        let found = fs::read_to_string(repository().join(path));
        found.ok().as_deref() != Some(text)
    };
    (files.iter())
        .filter(|(path, text)| differs(path, text))
        .map(|(path, _)| path.clone())
        .collect()
}

/// Files in [`WHOLE`] that are not generated.
fn strays(files: &Files) -> Result<Vec<String>, ChartError> {
    let mut strays = Vec::new();
    for folder in WHOLE {
        for path in below(&repository().join(folder))? {
            let path = path.strip_prefix(repository()).unwrap_or(&path);
            let path = path.display().to_string();
            if !files.contains_key(&path) && !install::is_source(&path) {
                strays.push(path);
            }
        }
    }
    Ok(strays)
}

/// Every file below a folder; none if the folder is missing.
fn below(folder: &Path) -> Result<Vec<PathBuf>, ChartError> {
    let failed = |source| ChartError::File {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            files.extend(below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn write(files: &Files) -> Result<(), ChartError> {
    for (path, text) in files {
        let path = repository().join(path);
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| ChartError::File { path, source })?;
    }
    Ok(())
}

fn read(path: &str) -> Result<String, ChartError> {
    let path = repository().join(path);
    fs::read_to_string(&path).map_err(|source| ChartError::File { path, source })
}
