//! Wiring: engine and server, which run until a signal or until the engine ends.

use crate::PROGRAM;
use anyhow::Context as _;
use fovea_process::Runtime;
use fovea_runner::config::Config;
use fovea_runner::engine::{Engine, EngineConfig, OwnSettings, Planned};
use fovea_runner::import::DownloadLimits;
use fovea_runner::metrics::{DeviceMemory, Metrics};
use fovea_runner::models;
use fovea_runner::server::{
    App, AppConfig, FetchLimits, KeepConfig, Listener, ShardsConfig, Tls, Tokens, router, serve,
};
use std::sync::Arc;
use std::time::Duration;

/// Interval at which the files of certificate and tokens are checked for changes.
const CREDENTIALS_INTERVAL: Duration = Duration::from_secs(5);

/// Time without a request after which an installation may be forgotten. A leader announces itself
/// every 10 s.
const FORGET_INSTALLATION_AFTER: Duration = Duration::from_hours(1);

/// Runs the runner; an error says why it cannot start, or what ended it.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let runtime = Runtime::start(PROGRAM, config.log_format)?;
    let ended = serve_models(config, &runtime).await;
    runtime.finish().await;
    ended
}

async fn serve_models(config: Config, runtime: &Runtime) -> anyhow::Result<()> {
    config.check()?;
    let tokens = config.tokens()?.map(Arc::new);
    let tls = config.tls()?.map(Arc::new);
    let authorities = config.authorities()?.map(Arc::new);
    let placement = config.placement()?;
    let threads = config.threads(placement.device);
    let shutdown = runtime.shutdown_on_signal()?;

    let planned = (config.models.iter())
        .map(|flag| {
            let (front, loader) =
                models::open(&flag.dir).with_context(|| format!("model {}", flag.name))?;
            let name = flag.name.clone();
            Ok(Planned {
                name,
                front,
                loader,
                own: OwnSettings::default(),
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let metrics = Arc::new(Metrics::new(DeviceMemory::of(placement.device)));
    let engine_config = EngineConfig {
        placement,
        threads: threads.compute,
        max_batch_size: config.max_batch_size,
        max_batch_pixels: config.max_batch_pixels,
        queue_bound: config.slots.get() as usize,
        watchdog_factor: config.watchdog_factor,
        watchdog_grace: config.watchdog_grace(),
        load_deadline: config.load_deadline(),
        on_expiry: end_process,
    };
    let (engine, engine_ended) = Engine::start(planned, engine_config, Arc::clone(&metrics))?;
    let app = App::new(
        engine,
        AppConfig {
            slots: config.slots.get(),
            shards: ShardsConfig {
                slots: config.shard_slots,
                ..ShardsConfig::default()
            },
            tokens: tokens.clone(),
            fetch: FetchLimits {
                max_bytes: config.max_picture_bytes,
                silence: config.fetch_silence(),
            },
            max_picture_pixels: config.max_picture_pixels,
            max_decode_bytes: config.max_decode_bytes,
            preprocess_threads: threads.preprocess,
            keep: KeepConfig {
                models_dir: config.models_dir.clone(),
                cache_dir: config.cache_dir.clone(),
                download: DownloadLimits::default(),
            },
            forget_installation_after: FORGET_INSTALLATION_AFTER,
            authorities,
        },
        metrics,
    )?;

    let tcp = runtime.bind("--listen", config.listen).await?;
    let address = tcp.local_addr()?;
    tracing::info!(%address, https = tls.is_some(), ?placement, ?threads, "listening");
    tokio::spawn(follow_credentials(tls.clone(), tokens));
    let mut ended = Ok(());
    let stop = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            why = engine_ended => ended = match why {
                Ok(Err(error)) => Err(error.into()),
                _ => Err(anyhow::anyhow!("the engine's thread has ended")),
            },
        }
    };
    let listener = Listener { tcp, tls };
    serve(
        listener,
        router(Arc::clone(&app)),
        app,
        stop,
        config.drain(),
    )
    .await;
    ended
}

/// Ends the process when the watchdog expires. The stuck thread cannot be joined, so there is no
/// orderly shutdown.
fn end_process(what: &str) {
    tracing::error!("{what}: the process ends, for nothing else can free the device");
    std::process::abort();
}

/// Reloads certificate and tokens when their files change; unusable ones are logged and ignored.
async fn follow_credentials(tls: Option<Arc<Tls>>, tokens: Option<Arc<Tokens>>) {
    let mut interval = tokio::time::interval(CREDENTIALS_INTERVAL);
    loop {
        interval.tick().await;
        if let Some(Err(error)) = tls.as_ref().map(|tls| tls.refresh()) {
            tracing::warn!(%error, "the old certificate is kept");
        }
        if let Some(Err(error)) = tokens.as_ref().map(|tokens| tokens.refresh()) {
            tracing::warn!(%error, "the old tokens are kept");
        }
    }
}
