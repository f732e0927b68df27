//! The pinned kubectl, with the control plane's kubeconfig.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{ClusterError, ControlPlane};

/// Time limit of every call; a call that waits also has its own `--timeout`.
const LIMIT: Duration = Duration::from_mins(2);

#[derive(Clone, Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl ControlPlane {
    /// Runs kubectl as the admin. Its failure is not an error here: see [`Output::success`].
    pub async fn kubectl(&self, args: &[&str]) -> Result<Output, ClusterError> {
        self.kubectl_with(args, "").await
    }

    /// Runs kubectl with the words of `line`; its stdout, or an error with its stderr.
    pub async fn kubectl_line(&self, line: &str) -> Result<String, ClusterError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.kubectl(&words).await?.success(line)
    }

    /// `kubectl apply` of manifests, with flags such as `-n team`.
    pub async fn kubectl_apply(&self, flags: &str, manifests: &str) -> Result<(), ClusterError> {
        let line = format!("apply {flags} -f -");
        let words: Vec<&str> = line.split_whitespace().collect();
        let applied = self.kubectl_with(&words, manifests).await?;
        applied.success(&line).map(drop)
    }

    /// Whether RBAC lets `user` do this, such as `update` to `jobs/status` in a namespace.
    pub async fn may(
        &self,
        user: &str,
        verb: &str,
        what: &str,
        namespace: &str,
    ) -> Result<bool, ClusterError> {
        let (resource, part) = what.split_once('/').unwrap_or((what, ""));
        let part = format!("--subresource={part}");
        let question = [
            "auth", "can-i", verb, resource, &part, "--as", user, "-n", namespace,
        ];
        // A no is an error of kubectl.
        Ok(self.kubectl(&question).await?.stdout.trim() == "yes")
    }

    /// Runs kubectl with `stdin`, as for `apply -f -`.
    pub async fn kubectl_with(&self, args: &[&str], stdin: &str) -> Result<Output, ClusterError> {
        let call = async {
            let mut kubectl = Command::new(&self.kubectl);
            for variable in crate::PROXY_VARIABLES {
                kubectl.env_remove(variable);
            }
            let mut child = kubectl
                .args(args)
                .env("KUBECONFIG", self.kubeconfig())
                // The file is removed with the control plane.
                .env("KUBECACHEDIR", self.guardian().scratch().join("kubectl"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            let pipe = child.stdin.take();
            let write = async {
                match pipe {
                    // A kubectl that needs no input closes it, which is not an error.
                    Some(mut pipe) => pipe.write_all(stdin.as_bytes()).await.ok(),
                    None => None,
                }
            };
            let (_, output) = tokio::join!(write, child.wait_with_output());
            output
        };
        let output = match tokio::time::timeout(LIMIT, call).await {
            Ok(output) => output,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        let output = output.map_err(ClusterError::io(format!("kubectl {}", args.join(" "))))?;
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Output {
    /// Returns the stdout of a success; the error of a failure has the stderr.
    pub fn success(self, arguments: &str) -> Result<String, ClusterError> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        Err(ClusterError::Kubectl {
            arguments: arguments.to_owned(),
            stderr: self.stderr,
        })
    }
}
