//! Builds images with docker or buildah, from the same Dockerfile into the same kind of archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{DOCKERFILE, ImageError, base, write};
use fovea_setup::cache::Cache;
use fovea_setup::{debian, run_command};

/// Upper bound on the memory of a build, enough for several copies of the largest layer.
const IN_MEMORY: &str = "size=4g";

/// Script that runs in its own mount namespace. The mounts and the store end with it; only the archive
/// stays. A store in memory saves disk writes. `$@` are the build's arguments.
const BUILDAH: &str = r#"
if [ -n "$MEMORY" ]; then mount -t tmpfs -o "$MEMORY" tmpfs "$STORE"; fi
in_store() {
    command=$1
    shift
    buildah --storage-driver=vfs --root "$STORE/root" --runroot "$STORE/run" "$command" \
        --signature-policy "$POLICY" --quiet "$@"
}
if [ -n "$BASE" ]; then
    in_store build --isolation=chroot --layers=false ${EPOCH:+--timestamp=$EPOCH} \
        --tag "$BASE_NAME" "$BASE"
fi
if [ -n "$TARGET" ]; then
    in_store build --isolation=chroot --layers=false --pull=never ${EPOCH:+--timestamp=$EPOCH} \
        --target "$TARGET" --tag "$NAME" "$@" "$CONTEXT"
fi
in_store push "$NAME" "docker-archive:$ARCHIVE:$NAME"
"#;

/// Name of the build argument with the creation time of an image and its files, in seconds since 1970;
/// docker defines it.
pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

#[derive(Clone, Copy, Debug)]
pub(super) enum Builder {
    Docker,
    Buildah,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe<'a> {
    pub(super) context: &'a Path,
    /// The Dockerfile's target; `None` for the base image itself.
    pub(super) target: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) arguments: &'a [(&'a str, &'a str)],
    /// Path of the docker archive.
    pub(super) archive: &'a Path,
    /// Whether the image is too large for a build in memory.
    pub(super) large: bool,
}

impl Builder {
    /// Chooses docker if its engine answers, else buildah.
    pub(super) fn find() -> Self {
        let answers = Command::new("docker")
            .args(["info", "--format", "{{.ServerVersion}}"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match answers {
            Ok(status) if status.success() => Self::Docker,
            _ => Self::Buildah,
        }
    }

    pub(super) fn build(self, cache: &Cache, recipe: Recipe<'_>) -> Result<(), ImageError> {
        write(&recipe.context.join("Dockerfile"), DOCKERFILE)?;
        match self {
            Self::Docker => docker(recipe),
            Self::Buildah => buildah(cache, recipe),
        }
    }
}

fn build_arguments<'a>(
    arguments: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> impl Iterator<Item = String> {
    let arguments = arguments.into_iter();
    arguments.map(|(name, value)| format!("--build-arg={name}={value}"))
}

fn docker(recipe: Recipe<'_>) -> Result<(), ImageError> {
    let Recipe {
        context,
        target,
        name,
        arguments,
        archive,
        large: _,
    } = recipe;
    let step = format!("building the image {name} with docker");
    let mut get = Command::new("docker");
    match target {
        Some(target) => get
            .args(["build", "--quiet", "--target", target, "--tag", name])
            .args(build_arguments(arguments))
            .arg(context),
        None => get.args(["pull", "--quiet", name]),
    };
    run_command(&step, &mut get)?;
    let mut save = Command::new("docker");
    run_command(&step, save.args(["save", name, "--output"]).arg(archive))?;
    Ok(())
}

fn buildah(cache: &Cache, recipe: Recipe<'_>) -> Result<(), ImageError> {
    let Recipe {
        context,
        target,
        name,
        arguments,
        archive,
        large,
    } = recipe;
    if !nix::unistd::Uid::effective().is_root() {
        return Err(ImageError::NotRoot);
    }
    let store = context.with_extension("store");
    fs::create_dir_all(&store).map_err(ImageError::io("the images' store"))?;
    let base = match target {
        // The base image itself has no base.
        Some("pause") => PathBuf::new(),
        _ => base::folder(cache)?,
    };
    let made_at = arguments.iter().find(|(name, _)| *name == EPOCH);
    let arguments = arguments.iter().filter(|(name, _)| *name != EPOCH);
    let mut unshare = Command::new("unshare");
    unshare
        .envs(debian::environment(cache))
        .env("TMPDIR", &store)
        .env("STORE", &store)
        .env("MEMORY", if large { "" } else { IN_MEMORY })
        .env("BASE", base)
        .env("BASE_NAME", base::NAME)
        .env("POLICY", policy(cache))
        .env("CONTEXT", context)
        .env("TARGET", target.unwrap_or(""))
        .env("NAME", name)
        .env("EPOCH", made_at.map_or("", |(_, seconds)| seconds))
        .env("ARCHIVE", archive)
        .args(["--mount", "--", "sh", "-euc", BUILDAH, "sh"])
        .args(build_arguments(arguments));
    let built = run_command(
        &format!("building the image {name} with buildah"),
        &mut unshare,
    );
    fs::remove_dir_all(&store).map_err(ImageError::io("removing the images' store"))?;
    built?;
    Ok(())
}

/// The policy file that buildah requires: the installed one, else the package's.
fn policy(cache: &Cache) -> PathBuf {
    let installed = PathBuf::from("/etc/containers/policy.json");
    if installed.is_file() {
        return installed;
    }
    cache
        .path(&debian::entry())
        .join("etc/containers/policy.json")
}
