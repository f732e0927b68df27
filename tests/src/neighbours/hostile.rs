//! A hostile tenant of one kind, from its first request to its last.

use super::kind::{Kind, Load, PAGE, Size};
use super::setting::{MAX_UPLOAD_BYTES, Setting};
use super::submitted::{self, SIDES};
use super::tally::{Tally, Toll};
use super::tenant::{PATIENCE, Tenant};
use super::{held, repeated};
use crate::demo;
use anyhow::{Context as _, Result, bail, ensure};
use fovea_harness::eventually;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Pause of a connection that was refused or broke.
const PAUSE: Duration = Duration::from_millis(100);
/// Most jobs that are submitted beside those that exist before.
const MOST_JOBS: usize = 100_000;
/// Bytes of an inline picture, near their bound.
const INLINE_BYTES: usize = 60 * 1024;

pub(super) struct Hostile<'a> {
    kind: Kind,
    load: Load,
    setting: &'a Setting,
    tenant: Tenant,
    tally: Arc<Tally>,
    /// Its connections; they end with this.
    tasks: JoinSet<()>,
    /// A small picture.
    picture: Vec<u8>,
}

impl<'a> Hostile<'a> {
    /// Returns once it occupies its resource.
    pub(super) async fn start(kind: Kind, setting: &'a Setting) -> Result<Self> {
        let (picture, _) = demo::first::<String>("captions.json");
        let mut this = Self {
            kind,
            load: kind.load(setting.size),
            setting,
            tenant: setting.hostile().await?,
            tally: Arc::default(),
            tasks: JoinSet::new(),
            picture,
        };
        this.begin().await.with_context(|| format!("{kind}"))?;
        eventually(&format!("{kind} to take hold"), PATIENCE, async || {
            let toll = this.toll().await?;
            ensure!(kind.occupies(&toll), "{toll:?}");
            anyhow::Ok(())
        })
        .await?;
        Ok(this)
    }

    /// Ends it, and deletes its jobs. Returns what it had until then.
    pub(super) async fn stop(mut self) -> Result<Toll> {
        let toll = self.toll().await?;
        self.tasks.shutdown().await;
        self.tenant.clean().await?;
        Ok(toll)
    }

    async fn toll(&self) -> Result<Toll> {
        let mut toll = self.tally.toll();
        match self.kind {
            Kind::Jobs | Kind::LargePictures | Kind::Beams | Kind::Events => {
                toll.held = self.tenant.unfinished().await?;
            }
            Kind::Callbacks => toll.held = self.setting.hanging.hanging(),
            _ => {}
        }
        Ok(toll)
    }

    async fn begin(&mut self) -> Result<()> {
        let picture = self.picture.clone();
        let turn = match self.kind {
            Kind::Jobs => {
                self.create(|_, _| ()).await?;
                Turn::Submit(picture, "", MOST_JOBS)
            }
            Kind::Finished => {
                self.create(submitted::cancelled).await?;
                Turn::Submit(picture, "", MOST_JOBS)
            }
            Kind::BytesUp => Turn::Upload(self.setting.upload_bytes()),
            Kind::BytesDown => {
                let large = submitted::padded(&picture, MAX_UPLOAD_BYTES);
                Turn::Download(self.tenant.submitted(large).await?)
            }
            Kind::Streams => Turn::Follow(self.never_ending().await?),
            Kind::Waits => Turn::Wait(self.never_ending().await?),
            Kind::Deletes => {
                self.create(submitted::cancelled).await?;
                Turn::Delete(picture)
            }
            Kind::Lists => {
                self.picture = submitted::padded(&picture, INLINE_BYTES);
                self.create(submitted::cancelled).await?;
                Turn::List
            }
            Kind::SlowLists => {
                submitted::create_with_long_results(&self.tenant, self.load.jobs).await?;
                Turn::ListSlowly
            }
            Kind::LargePictures => Turn::Submit(self.largest().await?, "", self.load.jobs),
            Kind::Beams => Turn::Submit(picture, "?numBeams=10", self.load.jobs),
            Kind::Callbacks => {
                let (hanging, closed) = (self.setting.hanging_url(), Setting::closed_url());
                return self
                    .create(|number, spec| {
                        submitted::with_callback(&hanging, &closed, number, spec);
                    })
                    .await;
            }
            Kind::Events => {
                self.create(submitted::without_pool).await?;
                Turn::Bad(picture)
            }
        };
        self.connect(turn);
        Ok(())
    }

    async fn create(
        &self,
        change: impl Fn(usize, &mut fovea_crds::InferenceJobSpec),
    ) -> Result<()> {
        submitted::create(&self.tenant, self.load.jobs, &self.picture, change).await
    }

    /// The id of a job that is never run.
    async fn never_ending(&self) -> Result<String> {
        self.create(submitted::suspended).await?;
        Ok("job-0".to_owned())
    }

    /// The picture with the most pixels that the API accepts.
    async fn largest(&self) -> Result<Vec<u8>> {
        let most = match self.setting.size {
            Size::Small => 3000,
            Size::Full => u32::MAX,
        };
        for side in SIDES.into_iter().filter(|side| *side <= most) {
            let picture = tokio::task::spawn_blocking(move || submitted::black(side)).await??;
            match self.tenant.submit(picture.clone(), "").await? {
                (202, _) => return Ok(picture),
                (413, _) => {}
                (status, problem) => bail!("{side} pixels wide: {status}: {problem}"),
            }
        }
        bail!("no large picture is accepted")
    }

    /// Opens the connections, which take one turn after another.
    fn connect(&mut self, turn: Turn) {
        let turn = Arc::new(turn);
        for _ in 0..self.load.connections {
            let turn = Arc::clone(&turn);
            let (tenant, tally) = (self.tenant.clone(), Arc::clone(&self.tally));
            self.tasks.spawn(async move {
                loop {
                    if let Ok(true) = turn.take(&tenant, &tally).await {
                        tally.accept();
                    } else {
                        tally.refuse();
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
    }
}

/// What a connection does again and again.
enum Turn {
    /// Uploads so many bytes.
    Upload(usize),
    /// Downloads, follows or waits for a job.
    Download(String),
    Follow(String),
    Wait(String),
    /// Submits a picture, and deletes the job.
    Delete(Vec<u8>),
    List,
    /// Lists its jobs, and hardly reads them.
    ListSlowly,
    /// Creates a bad job.
    Bad(Vec<u8>),
    /// Submits a picture, with a query, so many times in all.
    Submit(Vec<u8>, &'static str, usize),
}

impl Turn {
    /// True if the API granted it; an error means that the connection broke.
    async fn take(&self, tenant: &Tenant, tally: &Arc<Tally>) -> Result<bool> {
        match self {
            Self::Upload(bytes) => held::upload(tenant, tally, *bytes).await,
            Self::Download(id) => held::read(tenant, tally, &format!("/{id}/input")).await,
            Self::ListSlowly => held::read(tenant, tally, &format!("?limit={PAGE}")).await,
            Self::Follow(id) => held::follow(tenant, tally, id).await,
            Self::Wait(id) => held::wait(tenant, tally, id).await,
            Self::Delete(picture) => repeated::delete(tenant, picture.clone()).await,
            Self::List => repeated::list(tenant).await,
            Self::Bad(picture) => repeated::bad(tenant, picture).await,
            Self::Submit(picture, query, most) => {
                repeated::submit(tenant, tally, (picture.clone(), query), *most).await
            }
        }
    }
}
