//! A batch while everything is killed in a random order: operator, runners, object store, API server.
//! Afterwards each picture has exactly one row.
//!
//! `make test` runs one seed for a minute. `make faults-batch` (PICTURES=20000 SEEDS=20) runs whole campaigns.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{Phase, Task};
use fovea_harness::stack::{self, SYSTEM_NAMESPACE, repository};
use fovea_harness::{Process, Program, eventually, ports};
use fovea_store::Store;
use fovea_tests::batches::{Written, batch, each_once, picture, prefix, put_all};
use fovea_tests::operated::{JOBS, PATIENCE, apply_spec};
use fovea_tests::{Operated, Options, pods};
use serde_json::json;
use std::env;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Every so many pictures one cannot be decoded.
const BAD: u32 = 97;
/// A victim is dead, and then everything alive, for so many milliseconds.
const DEAD: Range<u64> = 0..1500;
const ALIVE: Range<u64> = 500..4000;
/// After the last kill nothing may stand still for longer, on a busy machine: no retry waits so long.
const CALM: Duration = Duration::from_mins(3);
/// The pool of the real runners.
const POOL: &str = "real";

/// A campaign's size.
#[derive(Clone, Copy, Debug)]
struct Campaign {
    seed: u64,
    pictures: u32,
    /// Kills end after so long.
    kills: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Victim {
    Operator,
    FirstRunner,
    SecondRunner,
    Store,
    ApiServer,
}

const VICTIMS: [Victim; 5] = [
    Victim::Operator,
    Victim::FirstRunner,
    Victim::SecondRunner,
    Victim::Store,
    Victim::ApiServer,
];

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) % bound
    }

    fn millis(&mut self, range: &Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }

    fn victim(&mut self) -> Victim {
        let at = self.below(VICTIMS.len() as u64);
        VICTIMS[usize::try_from(at).unwrap_or_default()]
    }
}

struct Scene {
    operated: Operated,
    first: Process,
    second: Process,
    store: Store,
}

#[tokio::test]
async fn each_picture_has_one_row_whatever_is_killed() -> Result<()> {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = number("FOVEA_CAMPAIGN_SEEDS").unwrap_or(1);
    let first = number("FOVEA_CAMPAIGN_SEED").unwrap_or(18);
    let mut scene = Scene::start().await?;
    for seed in first..first + seeds {
        let pictures = number("FOVEA_CAMPAIGN_PICTURES").unwrap_or(1_500);
        let seconds = number("FOVEA_CAMPAIGN_SECONDS").unwrap_or(45);
        let campaign = Campaign {
            seed,
            pictures: u32::try_from(pictures)?,
            kills: Duration::from_secs(seconds),
        };
        scene
            .endures(campaign)
            .await
            .with_context(|| format!("{campaign:?}"))?;
    }
    Ok(())
}

/// The captioner takes a while for each picture, so that a batch does not end before the first kill.
async fn runner(name: &str) -> Result<(Process, String)> {
    let [port] = ports::free()?;
    let model = repository().join("models/demo/blip");
    let program = Program::new(name, stack::find("fovea-runner")?)
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg(format!("--model=blip={}", model.display()))
        .args(["--device=cpu", "--threads=1"]);
    Ok((
        Process::start(program).await?,
        format!("http://127.0.0.1:{port}"),
    ))
}

/// The end of a program's log, without what an idle operator says all the time.
fn last_lines(process: &Process) -> String {
    let log = std::fs::read_to_string(process.log_path()).unwrap_or_default();
    let lines: Vec<&str> = (log.lines().rev())
        .filter(|line| !line.contains("reconciled pool"))
        .take(60)
        .collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

impl Scene {
    async fn start() -> Result<Self> {
        let operated = Operated::start(Options::default().short_lease()).await?;
        let ((first, a), (second, b)) = tokio::try_join!(runner("first"), runner("second"))?;
        let spec = json!({
            "models": [{"name": "blip", "task": "image-to-text", "default": true}],
            "allowedNamespaces": {"from": "All"},
            "external": {"endpoints": [a, b]},
        });
        apply_spec(&operated.pools, POOL, spec, &json!({})).await?;
        operated.pool_is_ready(POOL).await?;
        let store = pods::store(&operated.minio).await?;
        Ok(Self {
            operated,
            first,
            second,
            store,
        })
    }

    fn process(&mut self, victim: Victim) -> &mut Process {
        match victim {
            Victim::Operator => &mut self.operated.operator,
            Victim::FirstRunner => &mut self.first,
            Victim::SecondRunner => &mut self.second,
            Victim::Store => self.operated.minio.process(),
            Victim::ApiServer => self.operated.control_plane.api_server(),
        }
    }

    /// Starts what has ended, as a kubelet does: an operator that has lost its Lease ends by itself.
    async fn revive(&mut self) -> Result<()> {
        for victim in VICTIMS {
            let process = self.process(victim);
            if process.exit().is_some() {
                process.restart().await?;
            }
        }
        Ok(())
    }

    /// Runs one batch to its end.
    async fn endures(&mut self, campaign: Campaign) -> Result<()> {
        let Campaign {
            seed,
            pictures,
            kills,
        } = campaign;
        let (name, mut random) = (format!("campaign-{seed}"), Random(seed));
        let key = |number: u32| format!("{name}/in/{number:06}.bmp");
        let objects = (0..pictures).map(|number| match number % BAD {
            0 => (key(number), b"no picture".to_vec()),
            _ => (key(number), picture(number)),
        });
        put_all(&self.store, JOBS, objects).await?;
        let mut job = batch(
            &name,
            Task::ImageToText,
            prefix(&format!("{name}/in")),
            "out",
        );
        let pool = json!({"name": POOL, "namespace": SYSTEM_NAMESPACE});
        job.spec.pool_ref = serde_json::from_value(pool)?;
        let uid = self
            .operated
            .create(&job)
            .await?
            .metadata
            .uid
            .context("no uid")?;

        let (begun, mut killed) = (Instant::now(), Vec::new());
        while begun.elapsed() < kills && !self.has_ended(&name).await {
            tokio::time::sleep(random.millis(&ALIVE)).await;
            let victim = random.victim();
            killed.push(victim);
            self.process(victim).kill().await?;
            tokio::time::sleep(random.millis(&DEAD)).await;
            self.revive().await?;
        }
        let kills = begun.elapsed();
        let (mut done, mut progressed) = (None, Instant::now());
        while !self.has_ended(&name).await {
            let now = self.done(&name).await;
            if now != done {
                (done, progressed) = (now, Instant::now());
            }
            ensure!(
                progressed.elapsed() < CALM,
                "it hangs after {killed:?}: {}",
                self.state(&name).await
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.revive().await?;
        }
        let whole = begun.elapsed();
        eprintln!(
            "seed {seed}: {pictures} pictures in {whole:.0?}, {} kills in {kills:.0?}",
            killed.len()
        );
        ensure!(killed.len() >= 3, "it ended after {killed:?}");
        self.judge(&name, &uid, campaign).await
    }

    async fn has_ended(&self, name: &str) -> bool {
        let job = self.operated.jobs.get(name).await;
        job.is_ok_and(|job| job.status.unwrap_or_default().phase.is_terminal())
    }

    /// Pictures with a row, as far as the status knows.
    async fn done(&self, name: &str) -> Option<u64> {
        let job = self.operated.jobs.get(name).await.ok()?;
        Some(job.status?.counts?.done())
    }

    async fn state(&self, name: &str) -> String {
        let job = self.operated.jobs.get(name).await.map(|job| job.status);
        let logs = [&self.operated.operator, &self.first, &self.second].map(last_lines);
        format!("{job:?}\n{}", logs.join("\n"))
    }

    async fn judge(&self, name: &str, uid: &str, campaign: Campaign) -> Result<()> {
        let total = u64::from(campaign.pictures);
        let bad = u64::from(campaign.pictures.div_ceil(BAD));
        let status = self.operated.ended(name).await?;
        ensure!(status.phase == Phase::Succeeded, "{status:?}");
        let counts = status.counts.with_context(|| format!("{status:?}"))?;
        let found = (
            counts.total,
            counts.succeeded,
            counts.failed,
            counts.skipped,
        );
        ensure!(found == (total, total - bad, bad, 0), "{status:?}");
        let output = status.output.context("no output")?;
        ensure!(output.prefix == format!("out/{uid}"), "{output:?}");
        // MinIO answers before it has started.
        let written = eventually("the output to be read", PATIENCE, async || {
            Written::read(&self.store, JOBS, &output).await
        });
        let written = written.await?;
        ensure!(written.success.is_some(), "no _SUCCESS.json");
        let rows = written.rows()?;
        each_once(
            &rows,
            (0..campaign.pictures).map(|number| format!("{name}/in/{number:06}.bmp")),
        )?;
        let failed: Vec<_> = rows.iter().filter_map(|row| row.error.as_ref()).collect();
        let undecodable = failed.iter().all(|error| error.reason == "InvalidPicture");
        ensure!(failed.len() as u64 == bad && undecodable, "{failed:?}");
        Ok(())
    }
}
