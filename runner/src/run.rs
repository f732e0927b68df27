//! Wires configuration, engine and server, and runs until SIGTERM.

use anyhow::Context as _;
use fovea_runner::config::Config;
use fovea_runner::engine::{Engine, EngineConfig, Planned};
use fovea_runner::models;
use fovea_runner::server::{App, AppConfig, FetchLimits, router, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the runner; an error says why it cannot start, or what ended it.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    config.check()?;
    let token = config.token()?;
    let placement = config.placement()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let planned = (config.models.iter())
        .map(|flag| {
            let (front, loader) =
                models::open(&flag.dir).with_context(|| format!("model {}", flag.name))?;
            let name = flag.name.clone();
            Ok(Planned {
                name,
                front,
                loader,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let engine_config = EngineConfig {
        placement,
        threads: config.threads(),
        max_batch_size: config.max_batch_size.get(),
        queue_bound: config.slots.get() as usize,
    };
    let (engine, engine_ended) = Engine::start(planned, engine_config)?;
    let app = App::new(
        engine,
        AppConfig {
            slots: config.slots.get(),
            token,
            fetch: FetchLimits {
                max_bytes: config.max_picture_bytes,
                silence: config.fetch_silence(),
            },
            max_picture_pixels: config.max_picture_pixels,
            max_decode_bytes: config.max_decode_bytes,
        },
    )?;

    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, ?placement.device, ?placement.kind, threads = engine_config.threads, "listening");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        () = serve(listener, router(app.clone()), app, stop, config.drain()) => Ok(()),
        ended = engine_ended => match ended {
            Ok(Err(error)) => Err(error.into()),
            _ => Err(anyhow::anyhow!("the engine's thread has ended")),
        },
    }
}
