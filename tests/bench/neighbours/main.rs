//! Measures a quiet tenant alone and beside one hostile tenant for each kind of resource: its rate, its times,
//! and the memory of operator and API; side by side with another build.
//!
//!     make bench-neighbours (ROUNDS=1 SECONDS=20 KINDS="waits lists" BASE=<folder of programs>)

mod limits;
mod peak;
mod side;
mod table;

use clap::Parser;
use fovea_tests::neighbours::Kind;
use side::Side;
use std::path::PathBuf;
use std::time::Duration;

/// Flags of the benchmark, which `make bench-neighbours` passes.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Folder of this build's programs.
    #[arg(long)]
    programs: PathBuf,
    /// Folder of another build's programs, which are measured in turns with these.
    #[arg(long)]
    base: Option<PathBuf>,
    /// Number of turns of each build beside each hostile tenant.
    #[arg(long, default_value = "1")]
    rounds: usize,
    /// Length of a turn in seconds.
    #[arg(long, default_value = "20")]
    seconds: u64,
    /// Only these kinds.
    #[arg(long, num_args = 1.., value_parser = kind)]
    kinds: Vec<Kind>,
}

impl Arguments {
    /// Alone, then beside each kind.
    fn kinds(&self) -> impl Iterator<Item = Option<Kind>> + use<'_> {
        let chosen = |kind: &Kind| self.kinds.is_empty() || self.kinds.contains(kind);
        let kinds = Kind::ALL.into_iter().filter(chosen).map(Some);
        std::iter::once(None).chain(kinds)
    }
}

fn kind(name: &str) -> Result<Kind, String> {
    let mut kinds = Kind::ALL.into_iter();
    kinds.find(|kind| kind.name() == name).ok_or_else(|| {
        let names = Kind::ALL.map(Kind::name).join(", ");
        format!("it is one of {names}")
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut sides = Vec::new();
    if let Some(base) = &arguments.base {
        sides.push(Side::start("base", base.clone()).await?);
    }
    sides.push(Side::start("this", arguments.programs.clone()).await?);
    for round in 0..arguments.rounds {
        for kind in arguments.kinds() {
            for step in 0..sides.len() {
                let side = (round + step) % sides.len();
                let window = Duration::from_secs(arguments.seconds);
                sides[side].measure(kind, window).await?;
            }
        }
    }
    // Again at the end: the builds alone are compared to a few hundredths.
    for side in sides.iter_mut().rev() {
        side.measure(None, Duration::from_secs(arguments.seconds))
            .await?;
    }
    table::print(&sides, &limits::of_the_chart()?);
    for side in sides {
        side.stop().await?;
    }
    Ok(())
}
