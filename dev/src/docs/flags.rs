//! clap's long help, read back, as Markdown. Pure.

use std::fmt::Write as _;

/// Flags of every program, which the tables omit.
const KNOWN: [&str; 2] = ["-h, --help", "-V, --version"];
/// Indentation of a flag's description in clap's long help.
const INDENT: &str = "          ";

/// A program's `--help`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Help {
    pub about: String,
    pub commands: Vec<String>,
    sections: Vec<Section>,
}

#[derive(Debug, PartialEq, Eq)]
struct Section {
    heading: String,
    flags: Vec<Flag>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Flag {
    name: String,
    about: Vec<String>,
    /// Possible values with their descriptions, if any.
    values: Vec<String>,
    variable: String,
    default: String,
}

impl Help {
    pub(super) fn parse(text: &str) -> Self {
        let mut help = Self::default();
        let mut heading = "";
        for line in text.lines() {
            if let Some(name) = line.strip_suffix(':').filter(|_| is_heading(line)) {
                heading = name;
            } else if line.starts_with("Usage:") || line.trim().is_empty() {
            } else if heading.is_empty() {
                help.about = [help.about.as_str(), line].join(" ").trim().into();
            } else if heading == "Commands" {
                let name = line.split_whitespace().next().unwrap_or_default();
                // A second line of a command's own words is further in.
                if line.starts_with("  ") && !line.starts_with("   ") && name != "help" {
                    help.commands.push(name.to_owned());
                }
            } else {
                help.line(heading, line);
            }
        }
        for section in &mut help.sections {
            section
                .flags
                .retain(|flag| !KNOWN.contains(&flag.name.as_str()));
        }
        help.sections.retain(|section| !section.flags.is_empty());
        help
    }

    fn line(&mut self, heading: &str, line: &str) {
        let Some(about) = line.strip_prefix(INDENT) else {
            if self
                .sections
                .last()
                .is_none_or(|last| last.heading != heading)
            {
                self.sections.push(Section {
                    heading: heading.to_owned(),
                    flags: Vec::new(),
                });
            }
            if let Some(section) = self.sections.last_mut() {
                section.flags.push(Flag {
                    name: line.trim().to_owned(),
                    ..Flag::default()
                });
            }
            return;
        };
        if let Some(flag) = (self.sections.last_mut()).and_then(|last| last.flags.last_mut()) {
            flag.add(about);
        }
    }

    /// A heading and a table for each section; the headings are at `level`.
    pub(super) fn sections(&self, level: usize) -> String {
        let mut text = String::new();
        for Section { heading, flags } in &self.sections {
            let marks = "#".repeat(level);
            let _ = write!(
                text,
                "\n{marks} {heading}\n\n| flag and variable | default | |\n|---|---|---|\n"
            );
            for flag in flags {
                text.push_str(&flag.row());
            }
        }
        text
    }
}

impl Flag {
    fn add(&mut self, line: &str) {
        let line = line.trim_end();
        let within = |name: &str| line.strip_prefix(name)?.strip_suffix(']');
        if let Some(variable) = within("[env: ") {
            variable
                .trim_end_matches('=')
                .clone_into(&mut self.variable);
        } else if let Some(default) = within("[default: ") {
            default.clone_into(&mut self.default);
        } else if let Some(values) = within("[possible values: ") {
            self.values.extend(values.split(", ").map(str::to_owned));
        } else if let Some(value) = line.strip_prefix("- ") {
            self.values.push(value.to_owned());
        } else if line == "Possible values:" || line.is_empty() {
        } else if let Some(more) = line.strip_prefix("  ") {
            // The second line of a value's own words.
            if let Some(value) = self.values.last_mut() {
                let _ = write!(value, " {}", more.trim());
            }
        } else {
            self.about.push(line.to_owned());
        }
    }

    fn row(&self) -> String {
        let Self {
            name,
            about,
            values,
            variable,
            default,
        } = self;
        let code = |text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                format!("`{}`", text.replace('|', "\\|"))
            }
        };
        let mut names = code(name);
        if !variable.is_empty() {
            names = format!("{names}<br>{}", code(variable));
        }
        let mut about = about.join(" ");
        if !values.is_empty() {
            let each: Vec<_> = values.iter().map(|value| named(value)).collect();
            about = format!("{}. {}", about.trim_end_matches('.'), each.join("; "));
        }
        let about = outside_code(&about.replace('|', "\\|"));
        format!("| {names} | {} | {about} |\n", code(default))
    }
}

/// Escapes HTML tags outside of code.
fn outside_code(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(at, part)| {
        if at % 2 == 0 {
            part.replace('<', "&lt;")
        } else {
            part.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join("`")
}

/// `text:       For people` as a value and its meaning.
fn named(value: &str) -> String {
    match value.split_once(':') {
        Some((name, meaning)) => format!("`{name}`: {}", meaning.trim()),
        None => format!("`{value}`"),
    }
}

/// Flags and what belongs to them are further in.
fn is_heading(line: &str) -> bool {
    !line.starts_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "\
Does what it does

Usage: thing [OPTIONS]

Commands:
  fetch  Brings something
  help   Print this message

Options:
      --listen <LISTEN>
          Address to serve on. Port 0
          takes a free one
          
          [env: THING_LISTEN=]
          [default: 127.0.0.1:8000]

  -h, --help
          Print help (see a summary with '-h')

Log:
      --log-format <LOG_FORMAT>
          How log lines look

          Possible values:
          - text: For people
          - json: For collectors, one object
            a line
          
          [env: THING_LOG_FORMAT=]

      --colour <a|b>
          Which <one> of `<two>`
          
          [possible values: a, b]
";

    #[test]
    fn help_text_becomes_one_table_per_heading() {
        let help = Help::parse(TOLD);
        assert_eq!(help.about, "Does what it does");
        assert_eq!(help.commands, ["fetch"]);
        assert_eq!(
            help.sections(2),
            "
## Options

| flag and variable | default | |
|---|---|---|
| `--listen <LISTEN>`<br>`THING_LISTEN` | `127.0.0.1:8000` | Address to serve on. Port 0 takes a free one |

## Log

| flag and variable | default | |
|---|---|---|
| `--log-format <LOG_FORMAT>`<br>`THING_LOG_FORMAT` |  | How log lines look. `text`: For people; `json`: For collectors, one object a line |
| `--colour <a\\|b>` |  | Which &lt;one> of `<two>`. `a`; `b` |
"
        );
    }
}
