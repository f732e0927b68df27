//! Writes `api/openapi.json` from the routes and their types; `--check` compares instead.

use clap::Parser as _;
use fovea_api::{Config, document};
use std::path::Path;
use std::process::ExitCode;
use std::{env, error::Error, fs};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let check = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err("usage: openapi [--check]".into()),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let config = Config::try_parse_from(["fovea-api"])?;
    let document = document(&config.compat);
    let text = format!("{}\n", serde_json::to_string_pretty(&document)?);
    if !check {
        fs::write(&path, text)?;
    } else if fs::read_to_string(&path).ok() != Some(text) {
        let shown = path.canonicalize().unwrap_or(path);
        eprintln!("{} differs from api/src: run openapi", shown.display());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
