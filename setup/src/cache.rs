//! The folder of built tools, one entry per tool and version. An entry is complete or missing, and only one
//! process builds it at a time.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::progress;

/// `$FOVEA_CACHE`, else `~/.cache/fovea`.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

#[derive(Debug)]
pub enum CacheError {
    /// Neither of the variables that name the folder is set.
    NoHome,
    Io {
        path: PathBuf,
        source: io::Error,
    },
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHome => f.write_str("no folder for the cache: set FOVEA_CACHE, or HOME"),
            Self::Io { path, source } => write!(f, "the cache at {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for CacheError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoHome => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

impl Cache {
    pub fn from_env() -> Result<Self, CacheError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = match (set("FOVEA_CACHE"), set("XDG_CACHE_HOME"), set("HOME")) {
            (Some(root), _, _) => PathBuf::from(root),
            (None, Some(caches), _) => Path::new(&caches).join("fovea"),
            (None, None, Some(home)) => Path::new(&home).join(".cache/fovea"),
            (None, None, None) => return Err(CacheError::NoHome),
        };
        let root =
            std::path::absolute(&root).map_err(|source| CacheError::Io { path: root, source })?;
        Ok(Self::at(root))
    }

    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The path of `entry`, built or not.
    pub fn path(&self, entry: &str) -> PathBuf {
        self.root.join(entry)
    }

    pub fn has(&self, entry: &str) -> bool {
        self.path(entry).is_dir()
    }

    /// The path of `entry`; `build` makes it if it is missing.
    ///
    /// `build` gets an empty folder on the same file system, which is renamed to the entry when it returns
    /// `Ok`. The kernel releases the lock with the process, so an interrupted build blocks no other, and the
    /// next one removes its files.
    pub fn get_or_build<E>(
        &self,
        entry: &str,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E>
    where
        E: From<CacheError>,
    {
        let path = self.path(entry);
        if path.is_dir() {
            return Ok(path);
        }
        let _lock = self.lock(entry)?;
        if path.is_dir() {
            return Ok(path);
        }
        let unfinished = self.root.join(".building").join(entry);
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(at(&unfinished))?;
        }
        fs::create_dir_all(&unfinished).map_err(at(&unfinished))?;
        build(&unfinished).inspect_err(|_| {
            // Report the build's own error; the next attempt removes these files.
            fs::remove_dir_all(&unfinished).ok();
        })?;
        fs::rename(&unfinished, &path).map_err(at(&path))?;
        Ok(path)
    }

    /// The same for people: says that `label` is there already, or how its `step` goes.
    pub fn get_or_build_with_progress<E>(
        &self,
        entry: &str,
        [label, step]: [&str; 2],
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E>
    where
        E: From<CacheError>,
    {
        if self.has(entry) {
            progress::note(&format!("{label}: there already"));
        }
        self.get_or_build(entry, |dir| progress::step(step, || build(dir)))
    }

    fn lock(&self, entry: &str) -> Result<File, CacheError> {
        let locks = self.root.join(".locks");
        fs::create_dir_all(&locks).map_err(at(&locks))?;
        let path = locks.join(entry);
        let file = File::create(&path).map_err(at(&path))?;
        file.lock().map_err(at(&path))?;
        Ok(file)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_path_buf();
    move |source| CacheError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn concurrent_callers_build_an_entry_once() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let builds = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let path = cache.get_or_build("tool-v1", |dir| {
                        builds.fetch_add(1, Ordering::SeqCst);
                        fs::write(dir.join("tool"), "built").map_err(at(dir))
                    });
                    assert_eq!(
                        fs::read_to_string(path.unwrap().join("tool")).unwrap(),
                        "built"
                    );
                });
            }
        });
        assert_eq!(builds.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failed_build_leaves_no_entry_and_the_next_one_starts_from_an_empty_folder() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let failed = cache.get_or_build("tool-v1", |dir| {
            fs::write(dir.join("half"), "half").map_err(at(dir))?;
            Err(CacheError::NoHome)
        });
        assert!(matches!(failed, Err(CacheError::NoHome)));
        assert!(!cache.has("tool-v1"));
        let built = cache.get_or_build("tool-v1", |dir| {
            assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
            Ok::<_, CacheError>(())
        });
        assert_eq!(built.unwrap(), cache.path("tool-v1"));
    }
}
