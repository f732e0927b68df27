//! Uploads per second: ours, the peer's, and what MinIO and the API server reach by themselves.

use crate::Arguments;
use crate::k6::{Load, Measured, Request};
use crate::setting::{Service, Setting};
use fovea_crds::{InferenceJob, InferenceJobSpec, Input, Task};
use fovea_tests::measure::median;
use kube::Resource as _;

/// The compared servers, in the order of the table.
const SIDES: [&str; 4] = [
    "fovea-api",
    "FastAPI (makes no job)",
    "bare PutObject",
    "bare PutObject, then a bare create of the job",
];

/// Two builds of the api in turns; the ratio is the median of the turns' own.
pub(crate) async fn compare_builds(
    setting: &Setting,
    base: &Service,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let sides = [("fovea-api", &setting.api), ("base", base)];
    let mut turns: [Vec<(Measured, f64)>; 2] = Default::default();
    for round in 0..=arguments.rounds {
        for step in 0..sides.len() {
            let side = (round + step) % sides.len();
            let (name, service) = sides[side];
            let load = Load {
                requests: vec![form(setting, format!("{}/v1/jobs", service.url))],
                connections: arguments.connections,
                seconds: arguments.seconds,
                identity: None,
            };
            let before = service.processor_ms()?;
            let measured = load.run(setting.scratch.path()).await?;
            let spent = (service.processor_ms()? - before) / measured.count;
            eprintln!("uploads, turn {round}, {name}: {measured:?}, {spent:.2} ms each");
            // The first one warms up.
            if round > 0 {
                turns[side].push((measured, spent));
            }
        }
    }
    println!(
        "| uploads of 91 KiB | per second | p50, ms | p99, ms | processor, ms | ours over it |"
    );
    println!("|---|---|---|---|---|---|");
    for ((name, _), theirs) in sides.iter().zip(&turns) {
        let of = |what: fn(&(Measured, f64)) -> f64| median(theirs.iter().map(what).collect());
        let both = turns[0].iter().zip(theirs);
        let ratios = both.map(|(ours, theirs)| ours.0.per_second / theirs.0.per_second);
        println!(
            "| {name} | {:.0} | {:.1} | {:.1} | {:.2} | **{:.2}** |",
            of(|turn| turn.0.per_second),
            of(|turn| turn.0.p50_ms),
            of(|turn| turn.0.p99_ms),
            of(|turn| turn.1),
            median(ratios.collect()),
        );
    }
    Ok(())
}

/// An upload as a form.
fn form(setting: &Setting, url: String) -> Request {
    Request {
        method: "POST",
        urls: vec![url],
        picture: Some(setting.form_body()),
        content_type: Some(Setting::form_type()),
        ..Request::default()
    }
}

/// All in turns; a ratio is the median of the turns' own.
pub(crate) async fn compare(setting: &Setting, arguments: &Arguments) -> anyhow::Result<()> {
    let loads = loads(setting, arguments).await?;
    let mut turns: Vec<[Measured; SIDES.len()]> = Vec::new();
    let mut processor: Vec<[f64; 2]> = Vec::new();
    for round in 0..=arguments.rounds {
        eprintln!("uploads, turn {round} of {}", arguments.rounds);
        let mut turn = [None; SIDES.len()];
        let mut spent = [0.0; 2];
        for step in 0..loads.len() {
            let side = (round + step) % loads.len();
            let service = [&setting.api, &setting.peer].get(side).copied();
            let before = service.map_or(Ok(0.0), Service::processor_ms)?;
            let measured = loads[side].run(setting.scratch.path()).await?;
            if let Some(service) = service {
                spent[side] = (service.processor_ms()? - before) / measured.count;
            }
            turn[side] = Some(measured);
        }
        // The first one warms up.
        if let ([Some(ours), Some(theirs), Some(put), Some(both)], true) = (turn, round > 0) {
            turns.push([ours, theirs, put, both]);
            processor.push(spent);
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
        let ratios = (turns.iter()).map(|turn| turn[0].per_second / turn[side].per_second);
        println!(
            "| {name} | {:.0} | {:.1} | {:.1} | **{:.2}** |",
            of(side, |turn| turn.per_second),
            of(side, |turn| turn.p50_ms),
            of(side, |turn| turn.p99_ms),
            median(ratios.collect()),
        );
    }
    let [ours, theirs] =
        [0, 1].map(|side| median(processor.iter().map(|spent| spent[side]).collect()));
    let ratio = median(processor.iter().map(|spent| spent[1] / spent[0]).collect());
    println!(
        "\nprocessor time of the service itself an upload: fovea-api {ours:.2} ms, FastAPI {theirs:.2} ms (**{ratio:.1}** times ours)"
    );
    Ok(())
}

async fn loads(setting: &Setting, arguments: &Arguments) -> anyhow::Result<[Load; SIDES.len()]> {
    let presigned: Vec<String> = (setting.http)
        .get(format!("{}/presigned", setting.peer.url))
        .send()
        .await?
        .json()
        .await?;
    let put = Request {
        method: "PUT",
        urls: presigned,
        picture: Some(setting.raw_body()),
        ..Request::default()
    };
    let load = |requests| Load {
        requests,
        connections: arguments.connections,
        seconds: arguments.seconds,
        identity: None,
    };
    let both = Load {
        identity: Some(setting.identity().await?),
        ..load(vec![put.clone(), create(setting)?])
    };
    Ok([
        load(vec![form(setting, format!("{}/v1/jobs", setting.api.url))]),
        load(vec![form(setting, format!("{}/upload", setting.peer.url))]),
        load(vec![put]),
        both,
    ])
}

/// The create of a job as the api makes it.
fn create(setting: &Setting) -> anyhow::Result<Request> {
    let input = Input::Upload {
        sha256: "0".repeat(64),
    };
    let mut job = InferenceJob::new("NUMBER", InferenceJobSpec::new(Task::ImageToText, input));
    job.spec.ttl_seconds_after_finished = Some(86_400);
    let path = InferenceJob::url_path(&(), Some("default"));
    Ok(Request {
        method: "POST",
        urls: vec![format!("{}{path}", setting.control_plane.server())],
        object: Some(serde_json::to_value(job)?),
        content_type: Some("application/json".to_owned()),
        ..Request::default()
    })
}
