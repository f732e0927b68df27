//! Whether the programs take the flags and the environment that the chart gives them.

use crate::{goldens, objects};
use anyhow::{Context as _, Result, ensure};
use fovea_harness::stack;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Exit code for wrong flags; without a cluster the code differs.
const WRONG_FLAGS: i32 = 2;

#[test]
fn the_programs_take_every_flag_and_variable_that_any_values_give_them() -> Result<()> {
    let mut seen = BTreeMap::new();
    for golden in goldens()? {
        for object in objects(&golden)? {
            let pod = &object["spec"]["template"]["spec"];
            let containers = pod["containers"].as_array().into_iter().flatten();
            for container in containers {
                let name = container["name"].as_str().context("a name")?;
                let program = match name {
                    "operator" | "apply-pools" => "fovea-operator",
                    "api" => "fovea-api",
                    _ => continue,
                };
                takes(program, container).with_context(|| golden.display().to_string())?;
                *seen.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
    }
    ensure!(seen.len() == 3, "{seen:?}");
    Ok(())
}

fn takes(program: &'static str, container: &Value) -> Result<()> {
    let mut command = Command::new(stack::find(program)?);
    command.env_clear();
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().context("a name")?;
        // A value from a Secret or a field is text, too.
        command.env(name, variable["value"].as_str().unwrap_or("x"));
    }
    for flag in container["args"].as_array().context("flags")? {
        command.arg(flag.as_str().context("a text")?);
    }
    // No cluster: the first error if the flags are right.
    let output = command.env("KUBECONFIG", "/no/such/file").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    ensure!(
        code.is_some_and(|code| code != 0 && code != WRONG_FLAGS),
        "{program} ended with {code:?}: {said}"
    );
    Ok(())
}
