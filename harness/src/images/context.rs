//! The context folder of a build: stripped binaries, libtorch, certificates of authorities.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use super::{Build, DOCKERFILE, Image, ImageError, Torch, write};
use fovea_setup::cache::Cache;
use fovea_setup::{debian, libtorch, run_command};

/// Folder in Debian's package, one file per authority.
const AUTHORITIES: &str = "usr/share/ca-certificates/mozilla";

/// Text that describes all inputs of the image. An archive that was recorded with the same text is current.
pub(super) fn inputs(cache: &Cache, build: &Build, image: Image) -> Result<String, ImageError> {
    let mut text = format!(
        "{DOCKERFILE}\n{}\n{}\n",
        env!("CARGO_PKG_VERSION"),
        build.revision
    );
    let mut add = |path: &Path| {
        let about = fs::metadata(path)
            .and_then(|about| Ok((about.len(), about.modified()?)))
            .map_err(|_| ImageError::NotBuilt {
                path: path.to_path_buf(),
            })?;
        let (bytes, modified) = about;
        let nanos = modified
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        writeln!(text, "{} {bytes} {nanos}", path.display()).ok();
        Ok::<_, ImageError>(())
    };
    add(&build.binaries.join(image.name()))?;
    for library in libraries(cache, build, image)? {
        add(&library)?;
    }
    Ok(text)
}

/// Fills an empty `context` with the files that the image's target copies.
pub(super) fn lay_out(
    cache: &Cache,
    build: &Build,
    image: Image,
    context: &Path,
) -> Result<(), ImageError> {
    if context.exists() {
        fs::remove_dir_all(context).map_err(ImageError::io("removing an old context"))?;
    }
    let torch = context.join("torch").join(build.torch.name());
    for folder in [context.join("bin"), context.join("etc"), torch.clone()] {
        fs::create_dir_all(&folder).map_err(ImageError::io("laying out the context"))?;
    }
    let mut strip = Command::new("strip");
    strip
        .arg("-o")
        .arg(context.join("bin").join(image.name()))
        .arg(build.binaries.join(image.name()));
    run_command("stripping the binary", &mut strip)?;
    write(
        &context.join("etc/ca-certificates.crt"),
        &authorities(cache)?,
    )?;
    for library in libraries(cache, build, image)? {
        let target = torch.join(library.file_name().unwrap_or_default());
        // A hard link if possible, because the libraries are large.
        fs::hard_link(&library, &target)
            .or_else(|_| fs::copy(&library, &target).map(drop))
            .map_err(ImageError::io(format!("copying {}", library.display())))?;
    }
    Ok(())
}

/// libtorch's files; none for other images.
fn libraries(cache: &Cache, build: &Build, image: Image) -> Result<Vec<PathBuf>, ImageError> {
    if image != Image::Runner {
        return Ok(Vec::new());
    }
    let entry = match build.torch {
        Torch::Cpu => libtorch::entry(),
        Torch::Cuda => libtorch::cuda_entry(),
    };
    let folder = cache.path(&entry).join("lib");
    let io = |error| ImageError::io(format!("listing {}", folder.display()))(error);
    let mut found = Vec::new();
    for file in fs::read_dir(&folder).map_err(io)? {
        let path = file.map_err(io)?.path();
        // Skips links, which are only further names of the same files for linkers.
        if !path.is_symlink() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The certificates of Debian's package in one file. The machine's own file may contain others.
fn authorities(cache: &Cache) -> Result<String, ImageError> {
    let folders = [cache.path(&debian::entry()), PathBuf::from("/")];
    let folder = folders
        .map(|root| root.join(AUTHORITIES))
        .into_iter()
        .find(|path| path.is_dir());
    let folder = folder.ok_or(ImageError::NoAuthorities)?;
    let io = |error| ImageError::io("reading the authorities' certificates")(error);
    let mut files = Vec::new();
    for file in fs::read_dir(folder).map_err(io)? {
        files.push(file.map_err(io)?.path());
    }
    files.sort();
    let mut all = String::new();
    for file in files {
        all += &fs::read_to_string(file).map_err(io)?;
    }
    Ok(all)
}
