//! Uploads per second: ours, the peer's, and bare `PutObject` calls.

use crate::Arguments;
use crate::k6::{Load, Measured, median};
use crate::setting::Setting;

/// Who is loaded, in the order of the table.
const SIDES: [&str; 3] = ["fovea-api", "FastAPI", "bare PutObject"];

/// All three in turns; a ratio is the median of the turns' own.
pub(crate) async fn compare(setting: &Setting, arguments: &Arguments) -> anyhow::Result<()> {
    let presigned: String = (setting.http)
        .get(format!("{}/presigned", setting.peer.url))
        .send()
        .await?
        .json()
        .await?;
    let ours = format!("{}/v1/jobs", setting.api.url);
    let theirs = format!("{}/upload", setting.peer.url);
    let (raw, form) = (setting.raw_body(), setting.form_body());
    let load = |method, url, body, content_type| Load {
        method,
        url,
        body,
        content_type,
        connections: arguments.connections,
        seconds: arguments.seconds,
    };
    let loads = [
        load("POST", &ours, &form, Some(Setting::form_type())),
        load("POST", &theirs, &form, Some(Setting::form_type())),
        load("PUT", &presigned, &raw, None),
    ];
    let mut turns: Vec<[Measured; 3]> = Vec::new();
    for round in 0..=arguments.rounds {
        eprintln!("uploads, turn {round} of {}", arguments.rounds);
        let mut turn = [None; 3];
        for step in 0..loads.len() {
            let side = (round + step) % loads.len();
            turn[side] = Some(loads[side].run(setting.scratch.path()).await?);
        }
        // The first one warms up.
        if let ([Some(ours), Some(theirs), Some(bare)], true) = (turn, round > 0) {
            turns.push([ours, theirs, bare]);
        }
    }
    let of = |side: usize, what: fn(&Measured) -> f64| {
        median(turns.iter().map(|turn| what(&turn[side])).collect())
    };
    println!(
        "| uploads of 91 KiB, {} connections | per second | p50, ms | p99, ms | ours over it |",
        arguments.connections
    );
    println!("|---|---|---|---|---|");
    for (side, name) in SIDES.iter().enumerate() {
        let ratios =
            (turns.iter()).map(|turn| turn[0].requests_per_second / turn[side].requests_per_second);
        println!(
            "| {name} | {:.0} | {:.1} | {:.1} | **{:.2}** |",
            of(side, |turn| turn.requests_per_second),
            of(side, |turn| turn.p50_ms),
            of(side, |turn| turn.p99_ms),
            median(ratios.collect()),
        );
    }
    Ok(())
}
