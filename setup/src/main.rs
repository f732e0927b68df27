//! `fovea-setup`: builds and fetches the pinned tools, before anything else of the workspace is
//! built. Its arguments are read by hand, since it depends on no crate.

use std::process::ExitCode;

use fovea_setup::cache::Cache;
use fovea_setup::{DEFAULT_PARTS, Part, SetupError, check, environment, run};

const USAGE: &str = "\
Builds and fetches the pinned tools into FOVEA_CACHE (default: ~/.cache/fovea)

Usage: fovea-setup [--only PART]   Set up one part; default: tools, controllers and libtorch
       fovea-setup check           Check that everything needed to set those up is installed
       fovea-setup env             Print the shell variables for builds and tests: eval \"$(fovea-setup env)\"
       fovea-setup help            Print this text

Parts:
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => set_up(&DEFAULT_PARTS),
        ["--only", name] => match Part::ALL.iter().find(|part| part.1 == name) {
            Some((part, ..)) => set_up(&[*part]),
            None => return wrong_usage(),
        },
        ["check"] => cache().and_then(|cache| check(&cache, &DEFAULT_PARTS)),
        ["env"] => cache().map(|cache| print!("{}", environment(&cache))),
        ["help" | "--help" | "-h"] => {
            print!("{}", usage());
            Ok(())
        }
        _ => return wrong_usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn cache() -> Result<Cache, SetupError> {
    Ok(Cache::from_env()?)
}

fn set_up(parts: &[Part]) -> Result<(), SetupError> {
    run(&cache()?, parts)
}

fn wrong_usage() -> ExitCode {
    eprint!("{}", usage());
    ExitCode::from(2)
}

fn usage() -> String {
    let parts = Part::ALL
        .iter()
        .map(|(_, name, about)| format!("  {name:14} {about}\n"));
    std::iter::once(USAGE.to_owned()).chain(parts).collect()
}
