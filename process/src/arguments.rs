//! The command line of a program that has one subcommand.

use clap::Parser;
use std::ffi::OsString;

/// The parsed command line: the program's own flags, or its subcommand's.
#[derive(Debug, PartialEq, Eq)]
pub enum Arguments<P, S> {
    /// The program's own flags: no subcommand was given.
    Program(P),
    /// The subcommand was given; the program's required flags may then be absent.
    Subcommand(S),
}

impl<P: Parser, S: Parser> Arguments<P, S> {
    /// Parses the process's arguments. Prints help, version or what is wrong, and exits, as
    /// [`Parser::parse`] does.
    pub fn parse(subcommand: &'static str) -> Self {
        Self::try_parse_from(subcommand, std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn try_parse_from(
        subcommand: &'static str,
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let matches = P::command()
            .subcommand(S::command().name(subcommand))
            .subcommand_negates_reqs(true)
            .args_conflicts_with_subcommands(true)
            .try_get_matches_from(arguments)?;
        Ok(match matches.subcommand() {
            Some((_, matches)) => Self::Subcommand(S::from_arg_matches(matches)?),
            None => Self::Program(P::from_arg_matches(&matches)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Parser)]
    struct Program {
        #[arg(long)]
        required: String,
    }

    #[derive(Debug, PartialEq, Eq, Parser)]
    struct Once {
        #[arg(long)]
        file: String,
    }

    fn parse(arguments: &[&str]) -> Option<Arguments<Program, Once>> {
        let all = ["program"].iter().chain(arguments);
        Arguments::try_parse_from("once", all).ok()
    }

    #[test]
    fn a_subcommand_has_its_own_flags_and_requires_none_of_the_program_s() {
        let program = Arguments::Program(Program {
            required: "a".to_owned(),
        });
        assert_eq!(parse(&["--required", "a"]), Some(program));
        let once = Arguments::Subcommand(Once {
            file: "b".to_owned(),
        });
        assert_eq!(parse(&["once", "--file", "b"]), Some(once));
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&["once"]), None);
        assert_eq!(parse(&["--required", "a", "once", "--file", "b"]), None);
    }
}
