//! Runs the commands in the docs: every fenced `console` block of a page, in order, in one bash.
//!
//! A line that begins with `$ ` is a command, with the lines that a `\` at its end or a here-document adds.
//! The lines below it are its expected output; without any, it must only succeed. A block of another language
//! with a file name, such as `yaml values.yaml`, is a file.

mod compare;

use anyhow::{Context as _, Result, ensure};
use fovea_harness::process::{Process, ProcessError, Program};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Begins the line that marks the end of a command; no command prints it.
const MARK: &str = "@@ fovea console, end of command";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The line of the page on which it begins, from 1.
    pub line: usize,
    /// The input of bash, which may have several lines.
    pub text: String,
    /// Expected output; empty allows any.
    pub expected: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub name: String,
    /// In the order of the page.
    pub commands: Vec<Command>,
    /// The files that the page shows: name and content.
    pub files: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct Environment {
    /// The working directory, laid out like a checkout.
    pub folder: PathBuf,
    pub variables: Vec<(String, String)>,
    /// Folders of programs that come before those of this process' PATH.
    pub programs: Vec<PathBuf>,
    /// Time limit of one command.
    pub limit: Duration,
}

impl Page {
    pub fn parse(name: impl Into<String>, markdown: &str) -> Result<Self> {
        let name = name.into();
        let (mut commands, mut files) = (Vec::new(), Vec::new());
        let mut lines = markdown
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line));
        while let Some((begin, line)) = lines.next() {
            let Some((language, file)) = fence(line) else {
                continue;
            };
            let mut block = Vec::new();
            loop {
                let (at, line) = lines
                    .next()
                    .with_context(|| format!("{name}:{begin}: the block has no end"))?;
                if line.trim_end() == "```" {
                    break;
                }
                block.push((at, line));
            }
            if language == "console" {
                read_block(&name, &block, &mut commands)?;
            } else if !file.is_empty() {
                let text = block
                    .iter()
                    .fold(String::new(), |text, (_, line)| text + line + "\n");
                files.push((file.to_owned(), text));
            }
        }
        Ok(Self {
            name,
            commands,
            files,
        })
    }

    /// Reads a page below `folder`; errors call it by its path there.
    pub fn read(folder: &Path, path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(folder.join(path))
            .with_context(|| format!("{path} cannot be read"))?;
        Self::parse(path, &text)
    }
}

/// The language of the fenced block that a line begins, and its file name or an empty string.
pub fn fence(line: &str) -> Option<(&str, &str)> {
    let info = line.strip_prefix("```")?.trim();
    Some(info.split_once(' ').unwrap_or((info, "")))
}

fn read_block(page: &str, block: &[(usize, &str)], commands: &mut Vec<Command>) -> Result<()> {
    let before = commands.len();
    let mut lines = block.iter().copied();
    while let Some((at, line)) = lines.next() {
        let Some(first) = line.strip_prefix("$ ") else {
            // A command of this block: output before any command belongs to none.
            let command = commands[before..].last_mut();
            let command =
                command.with_context(|| format!("{page}:{at}: output without a command"))?;
            command.expected.push(line.to_owned());
            continue;
        };
        let mut text = first.to_owned();
        let mut unfinished = || {
            let next = lines.next();
            next.map(|(_, line)| line)
                .with_context(|| format!("{page}:{at}: the command does not end in its block"))
        };
        while text.ends_with('\\') {
            text = format!("{text}\n{}", unfinished()?);
        }
        if let Some(end) = here_document(&text) {
            loop {
                let line = unfinished()?;
                text = format!("{text}\n{line}");
                if line == end {
                    break;
                }
            }
        }
        commands.push(Command {
            line: at,
            text,
            expected: Vec::new(),
        });
    }
    ensure!(
        commands.len() > before,
        "{page}: a console block without a command"
    );
    Ok(())
}

fn here_document(command: &str) -> Option<String> {
    let (_, rest) = command.split_once("<<")?;
    let word = rest.trim_start_matches(['-', '\'', '"']);
    let end = word
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(word.len());
    (end > 0).then(|| word[..end].to_owned())
}

/// Runs a page's commands. The error lists, by page and line, each unexpected output, and the first command
/// that failed or timed out, which ends the page.
pub async fn run(page: &Page, environment: &Environment) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let script = scratch.path().join("page.sh");
    std::fs::write(&script, script_of(page, &environment.folder))?;
    let mut program = Program::new("console", "bash")
        .args(["--noprofile", "--norc"])
        .arg(script.display().to_string())
        .env("PATH", path(&environment.programs)?)
        .grace(Duration::ZERO);
    for (name, value) in &environment.variables {
        program = program.env(name, value);
    }
    let bash = Process::start(program).await?;
    let (mut begin, mut wrong) = (0, Vec::new());
    for (number, command) in page.commands.iter().enumerate() {
        let place = format!("{}:{}: `{command}`", page.name, command.line);
        let mark = format!("\n{MARK} {number}\n");
        let log = || std::fs::read(bash.log_path()).unwrap_or_default();
        let end = |log: &[u8]| find(log, begin, mark.as_bytes());
        let waited = bash
            .wait_ready(&place, environment.limit, async || {
                end(&log()).ok_or("it still runs")
            })
            .await;
        let log = log();
        // A script's last command ends together with bash.
        let Some(end) = end(&log) else {
            let said = String::from_utf8_lossy(log.get(begin..).unwrap_or_default());
            let limit = environment.limit.as_secs();
            wrong.push(match waited {
                Err(ProcessError::Ended { exit, .. }) => {
                    format!("{place} ended with {exit}; it said:\n{said}")
                }
                _ => format!("{place} has not ended after {limit} s; it said:\n{said}"),
            });
            break;
        };
        let printed = String::from_utf8_lossy(&log[begin..end]);
        if let Err(error) = compare::compare(&command.expected, &printed) {
            wrong.push(format!("{place} printed something else: {error}"));
        }
        begin = end + mark.len();
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.lines().next().unwrap_or_default())
    }
}

fn script_of(page: &Page, folder: &Path) -> String {
    let mut script = format!(
        "set -eu -o pipefail\ncd '{}'\n",
        folder.display().to_string().replace('\'', r"'\''")
    );
    for (number, command) in page.commands.iter().enumerate() {
        script = format!("{script}{}\nprintf '\\n{MARK} {number}\\n'\n", command.text);
    }
    script
}

fn path(programs: &[PathBuf]) -> Result<String> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let all = programs
        .iter()
        .cloned()
        .chain(std::env::split_paths(&inherited));
    let joined = std::env::join_paths(all)?.into_string();
    joined.map_err(|path| anyhow::anyhow!("PATH is not UTF-8: {}", path.display()))
}

fn find(text: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let rest = text.get(from..)?;
    let at = rest.windows(what.len()).position(|window| window == what)?;
    Some(from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    const PAGE: &str = "\
# A page

```console
$ greeting=hello
$ echo \"$greeting\" \\
    world
hello   world
```

```yaml some.yaml
$ is: no command
```

```console
$ cat <<'EOF'
$ one
two
EOF
...
two
```
";

    fn here(limit: Duration) -> Environment {
        Environment {
            folder: std::env::temp_dir(),
            variables: vec![("COLOUR".to_owned(), "red".to_owned())],
            programs: Vec::new(),
            limit,
        }
    }

    async fn outcome(markdown: &str, limit: Duration) -> String {
        let page = Page::parse("page.md", markdown).unwrap();
        match run(&page, &here(limit)).await {
            Ok(()) => "well".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn commands_are_the_dollar_lines_of_console_blocks_with_what_belongs_to_them() {
        let page = Page::parse("page.md", PAGE).unwrap();
        let seen: Vec<_> = page
            .commands
            .iter()
            .map(|command| (command.line, command.text.as_str(), command.expected.len()))
            .collect();
        assert_eq!(
            seen,
            [
                (4, "greeting=hello", 0),
                (5, "echo \"$greeting\" \\\n    world", 1),
                (15, "cat <<'EOF'\n$ one\ntwo\nEOF", 2),
            ]
        );
        let file = ("some.yaml".to_owned(), "$ is: no command\n".to_owned());
        assert_eq!(page.files, [file]);
    }

    #[test]
    fn a_block_that_cannot_be_read_is_refused_with_its_place() {
        for (wrong, expected) in [
            ("```console\n$ a", "page.md:1: the block has no end"),
            (
                "```console\nout\n```",
                "page.md:2: output without a command",
            ),
            (
                "```console\n$ a \\\n```",
                "page.md:2: the command does not end",
            ),
            (
                "```console\n$ cat <<EOF\n```",
                "page.md:2: the command does not end",
            ),
            ("```console\n```", "without a command"),
        ] {
            let error = Page::parse("page.md", wrong).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn a_page_is_one_shell_from_top_to_bottom() {
        assert_eq!(outcome(PAGE, LONG).await, "well");
        assert_eq!(
            outcome("```console\n$ echo $COLOUR\nred\n```\n", LONG).await,
            "well"
        );
    }

    #[tokio::test]
    async fn the_error_for_a_failed_command_has_its_page_line_and_output() {
        let page = "\n```console\n$ true\n$ echo why >&2; false\n$ true\n```\n";
        let error = outcome(page, LONG).await;
        assert!(error.starts_with("page.md:4: `echo why"), "{error}");
        assert!(
            error.contains("exit code 1") && error.ends_with("why\n"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_error_for_unexpected_output_has_both_texts() {
        let error = outcome("```console\n$ echo red\nblue\n```\n", LONG).await;
        assert!(error.contains("page.md:2") && error.contains("red") && error.contains("blue"));
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended() {
        let page = "```console\n$ echo begun; sleep 600\n```\n";
        let error = outcome(page, Duration::from_millis(300)).await;
        assert!(
            error.contains("page.md:2") && error.contains("has not ended"),
            "{error}"
        );
    }
}
