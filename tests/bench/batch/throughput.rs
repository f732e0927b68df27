//! Pictures per second, from the first submission to the last result.

use crate::Arguments;
use crate::peer::Peer;
use crate::setting::{self, Setting, TINY, Turn, as_f64};
use crate::watched::Watched;
use crate::{forward, gets};
use fovea_tests::crowd;
use fovea_tests::measure::median;
use std::time::Instant;

/// One round's figures, in pictures per second.
struct Round {
    prefix: Turn,
    archives: Turn,
    vit: Turn,
    celery: f64,
    /// The peer's processor time and MinIO's for it, per picture.
    celery_ms: [f64; 2],
    singles: f64,
    gets: f64,
    gets_minio_ms: f64,
    forward: f64,
}

type TurnOf = fn(&Round) -> &Turn;

/// All in turns; each ratio is the median of the turns' own.
pub(crate) async fn compare(
    setting: &mut Setting,
    peer: &mut Peer,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    for number in 0..=arguments.rounds {
        eprintln!(
            "{} pictures, turn {number} of {}",
            arguments.pictures, arguments.rounds
        );
        let round = round(setting, peer, arguments, number).await?;
        eprintln!("{}", round.line());
        // The first one warms up.
        if number > 0 {
            rounds.push(round);
        }
    }
    print(setting, arguments, &rounds);
    Ok(())
}

async fn round(
    setting: &mut Setting,
    peer: &mut Peer,
    arguments: &Arguments,
    number: usize,
) -> anyhow::Result<Round> {
    let count = arguments.pictures;
    let name = |of: &str| format!("{of}-{number}");
    let prefix = Setting::batch(&name("prefix"), TINY, setting::prefix());
    let prefix = setting.turn(&prefix, count).await?;

    let (before, minio) = (peer.processor_ms()?, setting.processor()?[0]);
    let celery = peer.drain(count, "data/default/pictures").await?;
    let spent = [
        peer.processor_ms()? - before,
        setting.processor()?[0] - minio,
    ];

    let minio = setting.processor()?[0];
    let keys = (0..count).map(|number| format!("pictures/{number:06}.jpg"));
    let gets = gets::per_second(&setting.store, keys, arguments.connections).await?;
    let gets_minio_ms = (setting.processor()?[0] - minio) / as_f64(count);

    let archives = Setting::batch(&name("archives"), TINY, setting::archives());
    let archives = setting.turn(&archives, count).await?;
    let vit = Setting::batch(&name("vit"), "vit-demo", setting::prefix());
    let vit = setting.turn(&vit, count).await?;
    Ok(Round {
        prefix,
        archives,
        vit,
        celery,
        celery_ms: spent.map(|spent| spent / as_f64(count)),
        singles: singles(setting, arguments, number).await?,
        gets,
        gets_minio_ms,
        forward: forward::per_second(setting, arguments).await?,
    })
}

/// Single jobs per second: one custom resource a picture.
async fn singles(setting: &Setting, arguments: &Arguments, round: usize) -> anyhow::Result<f64> {
    let count = arguments.singles;
    let name = format!("single-{round}-");
    let mut watched = Watched::start(&setting.jobs).await?;
    let began = Instant::now();
    let jobs = (0..count)
        .map(|number| setting::single(&format!("{name}{number}"), number % arguments.pictures));
    tokio::try_join!(
        watched.ended(&name, count),
        crowd::create(&setting.jobs, jobs)
    )?;
    Ok(as_f64(count) / began.elapsed().as_secs_f64())
}

impl Round {
    fn line(&self) -> String {
        format!(
            "prefix {:.0}, Celery {:.0}, single jobs {:.0}, bare GETs {:.0}, archives {:.0}, ViT {:.0}, its forward {:.0}",
            self.prefix.per_second,
            self.celery,
            self.singles,
            self.gets,
            self.archives.per_second,
            self.vit.per_second,
            self.forward
        )
    }
}

fn print(setting: &mut Setting, arguments: &Arguments, rounds: &[Round]) {
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let rows: [(&str, f64, f64, &str); 5] = [
        (
            "Celery, a task a picture",
            of(|r| r.celery),
            of(|r| r.prefix.per_second / r.celery),
            ">= 8",
        ),
        (
            "single jobs",
            of(|r| r.singles),
            of(|r| r.prefix.per_second / r.singles),
            ">= 20",
        ),
        (
            "bare GETs",
            of(|r| r.gets),
            of(|r| r.prefix.per_second / r.gets),
            ">= 0.8",
        ),
        (
            "archives, over the prefix",
            of(|r| r.archives.per_second),
            of(|r| r.archives.per_second / r.prefix.per_second),
            ">= 3",
        ),
        (
            "demo ViT, over its forward pass alone",
            of(|r| r.vit.per_second),
            of(|r| r.vit.per_second / r.forward),
            ">= 0.9",
        ),
    ];
    println!(
        "\n| {} pictures | per second | ratio | aim |",
        arguments.pictures
    );
    println!("|---|---|---|---|");
    println!(
        "| a batch over a prefix, fetched and decoded | {:.0} | | |",
        of(|r| r.prefix.per_second)
    );
    for (name, rate, ratio, aim) in rows {
        println!("| {name} | {rate:.0} | **{ratio:.2}** | {aim} |");
    }
    println!("| the forward pass alone | {:.0} | | |", of(|r| r.forward));

    let names = setting.pids().map(|(name, _)| name);
    println!(
        "\n| processor time per picture, ms | {} |",
        names.join(" | ")
    );
    println!("|---|{}", "---|".repeat(names.len()));
    let turns: [(&str, TurnOf); 3] = [
        ("prefix", |round| &round.prefix),
        ("archives", |round| &round.archives),
        ("demo ViT", |round| &round.vit),
    ];
    for (name, turn) in turns {
        let each = (0..names.len()).map(|at| {
            let values = rounds.iter().map(|round| turn(round).processor_ms[at]);
            format!("{:.3}", median(values.collect()))
        });
        println!("| {name} | {} |", each.collect::<Vec<_>>().join(" | "));
    }
    println!(
        "\nCelery: {:.3} ms per picture, and {:.3} ms of MinIO; bare GETs: {:.3} ms of MinIO",
        of(|r| r.celery_ms[0]),
        of(|r| r.celery_ms[1]),
        of(|r| r.gets_minio_ms),
    );
}
