//! One job at rest: from its submission to its end in a watch.

use crate::Arguments;
use crate::peer::Peer;
use crate::watched::Watched;
use fovea_tests::Operated;
use fovea_tests::measure::percentile;
use std::time::Instant;

/// Submits each job after the end of the one before.
pub(crate) async fn compare(
    operated: &Operated,
    peer: &mut Peer,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    eprintln!("{} jobs one after another", arguments.single);
    let mut watched = Watched::start(&operated.jobs).await?;
    let mut ours = Vec::new();
    for number in 0..arguments.single {
        let name = format!("single-{number}-");
        let job = Operated::job(&format!("{name}x"), "a picture");
        let began = Instant::now();
        tokio::try_join!(watched.ended(&name, 1), operated.create(&job))?;
        ours.push(began.elapsed().as_secs_f64() * 1000.0);
    }
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
