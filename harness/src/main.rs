//! `fovea-guard`: ends the programs that tests and the demo start. The harness starts it, not people.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use fovea_harness::{guard, node};

#[derive(Parser)]
#[command(version, about)]
enum Arguments {
    /// Start programs for the parent process, and end them when it closes this process's stdin
    Guard,
    /// Own a cluster's index, links and cgroups, and remove them on SIGTERM
    Hold {
        /// Number of nodes in the cluster
        #[arg(long)]
        nodes: u8,
        /// The guardian's folder, which the next holder removes if the guardian does not
        #[arg(long)]
        scratch: PathBuf,
    },
    /// Replace this process by a command that ends with its guardian
    Exec {
        /// Process id of the guardian to end with
        guardian: u32,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse() {
        Arguments::Guard => guard::run()?,
        Arguments::Hold { nodes, scratch } => node::holder::run(&scratch, nodes)?,
        Arguments::Exec { guardian, command } => {
            // The error takes one line at the end of the program's log.
            eprintln!("{}", guard::exec(guardian, &command));
            return Ok(ExitCode::from(127));
        }
    }
    Ok(ExitCode::SUCCESS)
}
