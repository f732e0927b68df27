//! Runs programs of the distribution and waits for them.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::cluster::ClusterError;

/// Bound on every call; the longest imports an image of some gigabytes.
const LIMIT: Duration = Duration::from_mins(5);

/// Runs a program; returns its stdout, or an error with its stderr.
pub(crate) async fn run(words: &[&str]) -> Result<String, ClusterError> {
    run_with(words, &[]).await
}

/// As [`run`], with additional environment variables.
pub(crate) async fn run_with(
    words: &[&str],
    variables: &[(&str, String)],
) -> Result<String, ClusterError> {
    let [program, arguments @ ..] = words else {
        return Ok(String::new());
    };
    let mut command = Command::new(program);
    for variable in crate::PROXY_VARIABLES {
        command.env_remove(variable);
    }
    let call = command
        .args(arguments)
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(LIMIT, call).await {
        Ok(output) => output,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    };
    let output = output.map_err(ClusterError::io(words.join(" ")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ClusterError::Command {
        command: words.join(" "),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
