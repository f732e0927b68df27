//! Draws docs/src/autoscaling: the pools' autoscaler under several loads, compared with a plain
//! `HorizontalPodAutoscaler`. The same every time, so that the files can be compared.
//!
//!     make generate

mod peer;
mod plot;
mod pool;
mod report;
mod shapes;

use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => anyhow::bail!("usage: autoscale [--check]"),
    };
    let docs = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src"));
    for file in report::files(&docs)? {
        if check {
            file.compare()?;
        } else {
            file.write()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plots_and_the_table_in_docs_are_what_the_code_gives() -> anyhow::Result<()> {
        let docs = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src"));
        report::files(&docs)?
            .iter()
            .try_for_each(report::File::compare)
    }
}
