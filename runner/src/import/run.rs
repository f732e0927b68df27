//! Runs the `fetch` subcommand.

use super::cache::RepoCache;
use super::choose::{Choice, NothingToImport, WeightFiles, choose, shards};
use super::config::{HubSettings, ImportConfig};
use super::error::ImportError;
use super::hub::Hub;
use super::materialise::{manifest, materialise};
use super::names::{Commit, FilePath, RepoId};
use super::transfer::io_error;
use super::upload::Form;
use fovea_trust::Bundle;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Imported {
    /// The commit of the repository.
    pub commit: Commit,
    /// The folder that `--model NAME=DIR` takes.
    pub dir: PathBuf,
}

/// Imports the checkpoint that `config` names.
pub async fn run(config: &ImportConfig, settings: &HubSettings) -> Result<Imported, ImportError> {
    let ImportConfig {
        repo,
        revision,
        to,
        upload,
        hub_ca_file,
        s3_ca_file,
        commit_file,
        log_format: _,
    } = config;
    // First, so that an invalid file fails before any download.
    let of_the_hub = authorities("--hub-ca-file", hub_ca_file.as_deref())?;
    let of_the_store = authorities("--s3-ca-file", s3_ca_file.as_deref())?;
    let form = upload
        .as_deref()
        .map(|path| Form::read(path, repo))
        .transpose()?;
    let cache = RepoCache::new(&settings.cache, repo);
    let (commit, files) = if settings.offline {
        let (commit, names) = cache.cached(revision)?;
        let files = cached_files(repo, &cache, &commit, &names)?;
        (commit, files)
    } else {
        let hub = Hub::new(settings, repo, of_the_hub.as_ref())?;
        let listing = hub.listing(revision).await?;
        let commit = listing.commit.clone();
        tracing::info!(%repo, revision = revision.as_str(), %commit, "resolved");
        let files = download_files(&hub, repo, &cache, &commit, &listing.names()).await?;
        cache.store_commit(revision, &commit)?;
        (commit, files)
    };
    let snapshot = cache.snapshot(&commit);
    let mut dir = snapshot.clone();
    if to.is_some() || form.is_some() {
        let manifest = manifest(repo, &commit, &snapshot, &files)?;
        if let Some(to) = to {
            materialise(&manifest, &snapshot, to)?;
            dir.clone_from(to);
        }
        if let Some(form) = form {
            let authorities = of_the_store.as_ref();
            form.upload(&manifest, &snapshot, settings, authorities)
                .await?;
        }
    }
    if let Some(file) = commit_file {
        std::fs::write(file, commit.to_string()).map_err(io_error("writing", file))?;
    }
    Ok(Imported { commit, dir })
}

fn authorities(flag: &'static str, path: Option<&Path>) -> Result<Option<Bundle>, ImportError> {
    let read = path.map(Bundle::read).transpose();
    read.map_err(|error| ImportError::Authorities { flag, error })
}

/// Downloads the chosen files into the cache, and returns all of them.
async fn download_files(
    hub: &Hub<'_>,
    repo: &RepoId,
    cache: &RepoCache,
    commit: &Commit,
    names: &[String],
) -> Result<Vec<FilePath>, ImportError> {
    let Choice { small, weights } = choose(names).map_err(nothing_of(repo))?;
    let mut files = small;
    for file in &files {
        download_file(hub, cache, commit, file).await?;
    }
    match weights {
        WeightFiles::One(file) => {
            download_file(hub, cache, commit, &file).await?;
            files.push(file);
        }
        WeightFiles::Index(index) => {
            download_file(hub, cache, commit, &index).await?;
            let shards = shards_of(repo, cache, commit, &index)?;
            for shard in &shards {
                download_file(hub, cache, commit, shard).await?;
            }
            files.push(index);
            files.extend(shards);
        }
    }
    Ok(files)
}

async fn download_file(
    hub: &Hub<'_>,
    cache: &RepoCache,
    commit: &Commit,
    file: &FilePath,
) -> Result<(), ImportError> {
    let info = hub.info(commit, file).await?;
    let _lock = cache.lock(&info).await?;
    if cache.has(&info) {
        tracing::info!(%file, bytes = info.bytes, "is in the cache");
    } else {
        tracing::info!(%file, bytes = info.bytes, "fetching");
        let [blob, partial] = cache.blob(&info);
        hub.file(commit, file, info.clone(), [&partial, &blob])
            .await?;
    }
    cache.link(commit, file, &info)?;
    Ok(())
}

/// The chosen files, if all of them are in the cache.
fn cached_files(
    repo: &RepoId,
    cache: &RepoCache,
    commit: &Commit,
    names: &[String],
) -> Result<Vec<FilePath>, ImportError> {
    let Choice { small, weights } = choose(names).map_err(nothing_of(repo))?;
    let mut files = small;
    match weights {
        WeightFiles::One(file) => files.push(file),
        WeightFiles::Index(index) => {
            let shards = shards_of(repo, cache, commit, &index)?;
            if let Some(shard) =
                (shards.iter()).find(|shard| !names.iter().any(|name| name == shard.as_str()))
            {
                return Err(ImportError::NotCached {
                    what: shard.to_string(),
                    cache: cache.snapshot(commit),
                });
            }
            files.push(index);
            files.extend(shards);
        }
    }
    Ok(files)
}

fn shards_of(
    repo: &RepoId,
    cache: &RepoCache,
    commit: &Commit,
    index: &FilePath,
) -> Result<Vec<FilePath>, ImportError> {
    let path: &Path = &cache.snapshot(commit).join(index.as_str());
    let text = std::fs::read(path).map_err(io_error("reading", path))?;
    shards(&text).map_err(nothing_of(repo))
}

fn nothing_of(repo: &RepoId) -> impl Fn(NothingToImport) -> ImportError {
    move |why| ImportError::NothingToImport {
        repo: repo.to_string(),
        why,
    }
}
