//! Jobs per second, from the first submission to the last end.

use crate::Arguments;
use crate::peer::Peer;
use crate::watched::Watched;
use fovea_tests::measure::{median, processor_ms};
use fovea_tests::{Operated, crowd};
use std::time::Instant;

/// Both in turns; the ratio is the median of the turns' own.
pub(crate) async fn compare(
    operated: &Operated,
    peer: &mut Peer,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let (mut ours, mut theirs, mut writes, mut processor) = (vec![], vec![], vec![], vec![]);
    let count = arguments.jobs;
    for round in 0..=arguments.rounds {
        eprintln!("{count} jobs, turn {round} of {}", arguments.rounds);
        let before = processor_ms(operated.operator.pid())?;
        let (rate, each) = drain(operated, round, count).await?;
        let spent = processor_ms(operated.operator.pid())? - before;
        let rate_of_peer = peer.drain(count).await?;
        // The first one warms up.
        if round > 0 {
            ours.push(rate);
            theirs.push(rate_of_peer);
            writes.extend(each);
            processor.push(spent / as_f64(count));
        }
    }
    let ratio = median(ours.iter().zip(&theirs).map(|(a, b)| a / b).collect());
    println!("| {count} jobs that do nothing | per second | over the peer |");
    println!("|---|---|---|");
    println!(
        "| fovea-operator, through custom resources | {:.0} | **{ratio:.2}** |",
        median(ours)
    );
    println!(
        "| Celery with Redis, 2 workers | {:.0} | 1.00 |",
        median(theirs)
    );
    let total: u32 = writes.iter().sum();
    println!(
        "\nstatus writes a job: {:.2}; the operator's own processor time a job: {:.2} ms",
        f64::from(total) / as_f64(writes.len()),
        median(processor),
    );
    Ok(())
}

/// Jobs per second, and how often each one's status was written.
pub(crate) async fn drain(
    operated: &Operated,
    round: usize,
    count: usize,
) -> anyhow::Result<(f64, Vec<u32>)> {
    let prefix = format!("turn-{round}-");
    let mut watched = Watched::start(&operated.jobs).await?;
    let began = Instant::now();
    let jobs = (0..count).map(|number| Operated::job(&format!("{prefix}{number}"), "a picture"));
    let (writes, ()) = tokio::try_join!(
        watched.ended(&prefix, count),
        crowd::create(&operated.jobs, jobs)
    )?;
    Ok((as_f64(count) / began.elapsed().as_secs_f64(), writes))
}

#[expect(clippy::cast_precision_loss, reason = "counts of jobs are small")]
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}
