//! One job at rest: from its submission to its end in a watch.

use crate::Arguments;
use crate::peer::Peer;
use crate::watched::Watched;
use fovea_tests::Operated;
use fovea_tests::measure::percentile;
use std::time::Instant;

/// Durations in milliseconds; each job is submitted after the end of the one before.
pub(crate) async fn one_after_another(
    operated: &Operated,
    round: usize,
    count: usize,
) -> anyhow::Result<Vec<f64>> {
    let mut watched = Watched::start(&operated.jobs).await?;
    let mut spans = Vec::new();
    for number in 0..count {
        let name = format!("single-{round}-{number}-");
        let job = Operated::job(&format!("{name}x"), "a picture");
        let began = Instant::now();
        tokio::try_join!(watched.ended(&name, 1), operated.create(&job))?;
        spans.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(spans)
}

pub(crate) async fn compare(
    operated: &Operated,
    peer: &mut Peer,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    eprintln!("{} jobs one after another", arguments.single);
    let ours = one_after_another(operated, 0, arguments.single).await?;
    let theirs = peer.one(arguments.single).await?;
    println!("\n| one job at rest | p50, ms | p99, ms |");
    println!("|---|---|---|");
    for (name, spans) in [("fovea-operator", ours), ("Celery with Redis", theirs)] {
        println!(
            "| {name} | {:.1} | {:.1} |",
            percentile(spans.clone(), 50),
            percentile(spans, 99)
        );
    }
    Ok(())
}
