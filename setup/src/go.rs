//! Tools built from Go modules. A folder of `setup/go` pins each of them: its go.mod and go.sum are
//! part of this program, so that a build needs neither this checkout nor `go mod tidy`.

mod kubernetes;
mod pins;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{NotBuilt, Part, SetupError, run_command};
use crate::cache::Cache;

pub(crate) use kubernetes::known as known_release;
pub use kubernetes::{KUBERNETES, KUBERNETES_CONTROLLERS, KUBERNETES_NODE, UnknownRelease};
pub(super) use pins::MONITORING;
pub use pins::{
    CONTOUR, COREDNS, ETCD, HELM, HELM_3, HELM_DOCS, K6, KIND, KSTATUS, KUBE_ROUTER, KUBECONFORM,
    KUEUE, MINIO, PROMETHEUS, SEAWEEDFS, VERSITYGW,
};

/// Programs that are built together from one Go module.
#[derive(Clone, Copy, Debug)]
pub struct GoTools {
    /// The name of the cache entry, without the version.
    pub name: &'static str,
    pub version: &'static str,
    /// The programs: the file's name and the package that it is built from.
    pub programs: &'static [(&'static str, &'static str)],
    /// Build time on two cores with an empty cache, for the progress line.
    pub about: &'static str,
    /// Variables that the linker sets in the binary, and their values.
    stamps: &'static [(&'static str, &'static str)],
    tags: &'static [&'static str],
    go_mod: &'static str,
    go_sum: &'static str,
    /// The files of a program of our own, by name; empty for others'.
    sources: &'static [(&'static str, &'static str)],
}

/// Programs in a shell's `PATH`: control plane, store and helm.
pub fn in_path() -> [GoTools; 5] {
    [ETCD, *KUBERNETES, *KUBERNETES_CONTROLLERS, MINIO, HELM]
}

/// Tools of `part`, in the order of their builds.
pub fn of(part: Part) -> Vec<GoTools> {
    match part {
        Part::Tools => vec![ETCD, *KUBERNETES, MINIO],
        Part::Controllers => vec![*KUBERNETES_CONTROLLERS],
        Part::Node => vec![
            *KUBERNETES_CONTROLLERS,
            *KUBERNETES_NODE,
            COREDNS,
            KUBE_ROUTER,
        ],
        Part::Chart => vec![HELM, HELM_3, KUBECONFORM, HELM_DOCS, KSTATUS],
        Part::Ingress => vec![CONTOUR],
        Part::Kueue => vec![KUEUE],
        Part::Prometheus => vec![PROMETHEUS],
        Part::Load => vec![K6],
        Part::Store(store) => store.go_tools().into_iter().collect(),
        Part::Libtorch | Part::LibtorchCuda | Part::Release | Part::Deny => Vec::new(),
    }
}

impl GoTools {
    pub fn entry(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    pub fn program(&self, cache: &Cache, program: &str) -> PathBuf {
        cache.path(&self.entry()).join(program)
    }

    /// The path of `program`; the error says how to get it.
    pub fn built(&self, cache: &Cache, program: &str) -> Result<PathBuf, NotBuilt> {
        NotBuilt::unless_exists(self.program(cache, program))
    }

    /// Builds missing programs; returns their folder.
    pub fn ensure(&self, cache: &Cache) -> Result<PathBuf, SetupError> {
        let names: Vec<_> = self.programs.iter().map(|(name, _)| *name).collect();
        let label = format!("{} {}", names.join(", "), self.version);
        let step = format!("building {label} from Go modules ({})", self.about);
        cache.get_or_build_with_progress(&self.entry(), [&label, &step], |dir| self.build(dir))
    }

    fn build(&self, out: &Path) -> Result<(), SetupError> {
        let written = self.pin(out)?;
        // Go names several programs after their packages. A single one gets our name: etcd's package
        // is called `server`.
        let target = match self.programs {
            [(name, _)] => out.join(name),
            _ => out.join(""),
        };
        run_command(
            &format!("building {}", self.name),
            Command::new("go")
                .args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly"])
                .args(["-ldflags", &self.linker_flags()])
                // No debug information: the linker would drop it anyway (`-w`).
                .arg("-gcflags=all=-dwarf=false")
                .args(["-tags", &self.tags.join(",")])
                .arg("-o")
                .arg(target)
                .args(self.programs.iter().map(|(_, package)| *package))
                .env("CGO_ENABLED", "0")
                .env("GOWORK", "off")
                // Rarer garbage collection in the compiler: 15% less time for some more memory.
                .env("GOGC", "400")
                .current_dir(out),
        )?;
        (written.into_iter().try_for_each(fs::remove_file))
            .map_err(SetupError::io(format!("tidying {}", out.display())))
    }

    /// Writes the module's files, and returns their paths.
    fn pin(&self, folder: &Path) -> Result<Vec<PathBuf>, SetupError> {
        let pins = [("go.mod", self.go_mod), ("go.sum", self.go_sum)];
        let files = pins.iter().chain(self.sources);
        let write = |(name, text): &(&str, &str)| {
            let what = format!("writing {name} of {}", self.name);
            let path = folder.join(name);
            fs::write(&path, text).map_err(SetupError::io(what))?;
            Ok(path)
        };
        files.map(write).collect()
    }

    /// The folder in which Go keeps the source of `module`, of the version that these programs are
    /// built from. Works in a folder below `scratch`, which it removes.
    pub(super) fn source(&self, module: &str, scratch: &Path) -> Result<PathBuf, SetupError> {
        let what = format!("looking for the source of {module}");
        let io = |source| SetupError::io(what.as_str())(source);
        let folder = scratch.join(".module");
        fs::create_dir_all(&folder).map_err(io)?;
        self.pin(&folder)?;
        let go = |arguments: &[&str]| {
            let mut go = Command::new("go");
            go.args(arguments)
                .arg(module)
                .env("GOWORK", "off")
                .current_dir(&folder);
            run_command(&what, &mut go)
        };
        go(&["mod", "download"])?;
        let source = go(&["list", "-m", "-f", "{{.Dir}}"])?;
        fs::remove_dir_all(&folder).map_err(io)?;
        match source.trim() {
            "" => Err(io(std::io::ErrorKind::NotFound.into())),
            source => Ok(source.into()),
        }
    }

    fn linker_flags(&self) -> String {
        let stamps = self.stamps.iter();
        let stamps = stamps.map(|(name, value)| format!(" -X {name}={value}"));
        std::iter::once("-s -w".to_owned()).chain(stamps).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions;

    fn every() -> impl Iterator<Item = GoTools> {
        { Part::ALL.into_iter() }
            .flat_map(|(part, ..)| of(part))
            .chain(kubernetes::of_every_release())
            .chain([KIND])
    }

    #[test]
    fn every_go_mod_requires_the_version_that_is_named_here() {
        for tools in every() {
            // A program of our own has the version of the package that it is about.
            let package = match tools.sources {
                [] => tools.programs[0].1,
                _ => "github.com/fluxcd/cli-utils",
            };
            let required = tools.go_mod.lines().any(|line| {
                let mut words = line.trim_start_matches("require").split_whitespace();
                let module = words.next();
                module.is_some_and(|module| package.starts_with(module))
                    && words.next() == Some(tools.version)
            });
            assert!(required, "{} {}", tools.name, tools.version);
        }
    }

    #[test]
    fn every_go_mod_builds_with_the_required_go() {
        for tools in every() {
            let mut lines = tools.go_mod.lines();
            let go = lines.find_map(|line| line.strip_prefix("go ")).unwrap();
            let mut parts = go.split('.').map(|part| part.parse::<u32>().unwrap());
            let needs = (parts.next().unwrap(), parts.next().unwrap());
            assert!(needs <= versions::GO, "{} needs Go {go}", tools.name);
        }
    }
}
