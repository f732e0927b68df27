//! The command line and the environment (`FOVEA_RUNNER_..`), and what of it cannot be.

use crate::engine::MaxBatchSize;
use crate::image::MAX_PIXELS;
use crate::server::{Tls, TlsError, TokenError, Tokens};
use crate::weights::Placement;
use clap::{Parser, ValueEnum};
use fovea_telemetry::LogFormat;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tch::{Device, Kind};

/// Keeps models resident and answers inference requests.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Address to listen on; one that others reach takes --tls-cert, --tls-key and --token-file.
    /// Port 0 takes a free one.
    #[arg(long, env = "FOVEA_RUNNER_LISTEN", default_value = "127.0.0.1:9400")]
    pub listen: SocketAddr,

    /// A model to keep: the pool's name for it, and its checkpoint's folder. Repeatable.
    #[arg(
        long = "model",
        env = "FOVEA_RUNNER_MODELS",
        value_name = "NAME=DIR",
        value_delimiter = ',',
        required_unless_present_any = ["models_dir", "cache_dir"]
    )]
    pub models: Vec<ModelFlag>,

    /// Folder of checkpoints' folders, of which `PUT /v1/models/{name}` may name one.
    #[arg(long, env = "FOVEA_RUNNER_MODELS_DIR", value_name = "DIR")]
    pub models_dir: Option<PathBuf>,

    /// Folder for the checkpoints that `PUT /v1/models/{name}` has the runner fetch.
    #[arg(long, env = "FOVEA_RUNNER_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    /// Where the models live; `auto` is CUDA where there is one.
    #[arg(long, env = "FOVEA_RUNNER_DEVICE", value_enum, default_value = "auto")]
    pub device: DeviceFlag,

    /// The type of weights and activations; `auto` is bfloat16 on a GPU, float32 on a CPU.
    #[arg(long, env = "FOVEA_RUNNER_DTYPE", value_enum, default_value = "auto")]
    pub dtype: DtypeFlag,

    /// Requests taken at once; the next is answered 503.
    #[arg(long, env = "FOVEA_RUNNER_SLOTS", default_value = "4")]
    pub slots: NonZeroU32,

    /// Most pictures in one pass; `auto` tries larger batches at the start for as long as they do
    /// more pictures a second.
    #[arg(long, env = "FOVEA_RUNNER_MAX_BATCH_SIZE", default_value = "8")]
    pub max_batch_size: MaxBatchSize,

    /// Most pixels of input in one pass, which its memory grows with; one picture alone may have
    /// more.
    #[arg(long, env = "FOVEA_RUNNER_MAX_BATCH_PIXELS", default_value_t = 8 << 20)]
    pub max_batch_pixels: u64,

    /// Threads of the process; by default as many CPUs as it may use (its affinity and its
    /// cgroup's CPU quota). On a CPU all of them compute, and a quarter as many more decode; with
    /// a GPU one drives it and the rest decode.
    #[arg(long, env = "FOVEA_RUNNER_THREADS")]
    pub threads: Option<NonZeroUsize>,

    /// PEM file with the certificate chain to serve HTTPS with; read again when it changes.
    #[arg(
        long,
        env = "FOVEA_RUNNER_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the certificate's key.
    #[arg(
        long,
        env = "FOVEA_RUNNER_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// File with the bearer tokens of which requests must carry one, one on a line; read again
    /// when it changes.
    #[arg(long, env = "FOVEA_RUNNER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// A pass may take so many times what it should by the warm-up's time; then the process ends.
    #[arg(long, env = "FOVEA_RUNNER_WATCHDOG_FACTOR", default_value_t = 10.0)]
    pub watchdog_factor: f64,

    /// And so many seconds beyond.
    #[arg(
        long,
        env = "FOVEA_RUNNER_WATCHDOG_GRACE_SECONDS",
        default_value_t = 30
    )]
    pub watchdog_grace_seconds: u32,

    /// Longest time for loading and warming up one model, in seconds; then the process ends.
    #[arg(
        long,
        env = "FOVEA_RUNNER_LOAD_DEADLINE_SECONDS",
        default_value = "1800"
    )]
    pub load_deadline_seconds: NonZeroU32,

    /// Largest picture file, in bytes.
    #[arg(long, env = "FOVEA_RUNNER_MAX_PICTURE_BYTES", default_value_t = 32 << 20)]
    pub max_picture_bytes: u64,

    /// Largest picture, in pixels.
    #[arg(long, env = "FOVEA_RUNNER_MAX_PICTURE_PIXELS", default_value_t = MAX_PIXELS)]
    pub max_picture_pixels: u64,

    /// Memory for decoding and resizing, in bytes, of all pictures at once; a picture that needs
    /// more than all of it is refused, one that needs more than is free waits.
    #[arg(long, env = "FOVEA_RUNNER_MAX_DECODE_BYTES", default_value_t = 2560 << 20)]
    pub max_decode_bytes: u64,

    /// Longest silence of the store while a picture is fetched, in seconds.
    #[arg(long, env = "FOVEA_RUNNER_FETCH_SILENCE_SECONDS", default_value = "20")]
    pub fetch_silence_seconds: NonZeroU32,

    /// After SIGTERM, the longest wait for running requests, in seconds.
    #[arg(long, env = "FOVEA_RUNNER_DRAIN_SECONDS", default_value = "25")]
    pub drain_seconds: NonZeroU32,

    /// How log lines look.
    #[arg(
        long,
        env = "FOVEA_RUNNER_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// `NAME=DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFlag {
    /// The pool's name for the model.
    pub name: String,
    /// The checkpoint's folder.
    pub dir: PathBuf,
}

impl FromStr for ModelFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, dir)) if !name.is_empty() && !dir.is_empty() => Ok(Self {
                name: name.to_owned(),
                dir: dir.into(),
            }),
            _ => Err("write NAME=DIR, the pool's name and the checkpoint's folder".to_owned()),
        }
    }
}

/// Where the models live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceFlag {
    /// CUDA where there is one, else the CPU.
    Auto,
    /// CUDA, or no start.
    Cuda,
    /// The CPU.
    Cpu,
}

/// The type of weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DtypeFlag {
    /// bfloat16 on a GPU, float32 on a CPU.
    Auto,
    /// 32 bits: what transformers computes by default.
    Float32,
    /// 16 bits with the range of 32.
    Bfloat16,
}

/// How many threads do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Compute on the CPU, or drive the GPU.
    pub compute: usize,
    /// Decode and resize pictures.
    pub preprocess: usize,
}

/// What of a configuration cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The port would be open to others without TLS or without a token.
    #[error(
        "--listen {0} is an address that others reach; give --tls-cert, --tls-key and --token-file, \
         or listen on 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// A watchdog that would end every pass, or never any.
    #[error("--watchdog-factor {0} is no number from 1")]
    WatchdogFactor(f64),
    /// Two models of one name.
    #[error("--model {0} is given twice; a name stands for one model")]
    DuplicateModel(String),
    /// There are no tokens.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// There is no certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// CUDA was asked for and is not there.
    #[error("--device cuda: libtorch finds no CUDA device; use --device cpu, or a CUDA libtorch")]
    NoCuda,
}

impl Config {
    /// Refuses what cannot be served safely.
    pub fn check(&self) -> Result<(), ConfigError> {
        let guarded = self.tls_cert.is_some() && self.token_file.is_some();
        if !guarded && !self.listen.ip().is_loopback() {
            return Err(ConfigError::NotLoopback(self.listen));
        }
        if self.watchdog_factor.is_nan() || self.watchdog_factor < 1.0 {
            return Err(ConfigError::WatchdogFactor(self.watchdog_factor));
        }
        for (i, model) in self.models.iter().enumerate() {
            if self.models[..i]
                .iter()
                .any(|other| other.name == model.name)
            {
                return Err(ConfigError::DuplicateModel(model.name.clone()));
            }
        }
        Ok(())
    }

    /// The bearer tokens.
    pub fn tokens(&self) -> Result<Option<Tokens>, ConfigError> {
        Ok(self.token_file.as_deref().map(Tokens::open).transpose()?)
    }

    /// The certificate.
    pub fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        Ok(Some(Tls::open(cert, key)?))
    }

    /// Where the models will live, and as which numbers.
    pub fn placement(&self) -> Result<Placement, ConfigError> {
        let device = match (self.device, tch::Cuda::is_available()) {
            (DeviceFlag::Cpu, _) | (DeviceFlag::Auto, false) => Device::Cpu,
            (DeviceFlag::Auto | DeviceFlag::Cuda, true) => Device::Cuda(0),
            (DeviceFlag::Cuda, false) => return Err(ConfigError::NoCuda),
        };
        let kind = match self.dtype {
            DtypeFlag::Auto if device.is_cuda() => Kind::BFloat16,
            DtypeFlag::Auto | DtypeFlag::Float32 => Kind::Float,
            DtypeFlag::Bfloat16 => Kind::BFloat16,
        };
        Ok(Placement { device, kind })
    }

    /// How many threads do what. The standard library heeds affinity and cgroup quotas, v1 and
    /// v2.
    pub fn threads(&self, device: Device) -> Threads {
        let available = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let all = self.threads.map_or(available, NonZeroUsize::get);
        if device.is_cuda() {
            Threads {
                compute: 1,
                preprocess: all.saturating_sub(1).max(1),
            }
        } else {
            // A picture is decoded in a hundredth of the time that a model looks at it.
            Threads {
                compute: all,
                preprocess: all.div_ceil(4),
            }
        }
    }

    /// After SIGTERM, the longest wait for running requests.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(u64::from(self.drain_seconds.get()))
    }

    /// What a pass may take beyond its multiple of the warm-up's time.
    pub fn watchdog_grace(&self) -> Duration {
        Duration::from_secs(u64::from(self.watchdog_grace_seconds))
    }

    /// Longest time for loading and warming up one model.
    pub fn load_deadline(&self) -> Duration {
        Duration::from_secs(u64::from(self.load_deadline_seconds.get()))
    }

    /// Longest silence of the store.
    pub fn fetch_silence(&self) -> Duration {
        Duration::from_secs(u64::from(self.fetch_silence_seconds.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Config {
        Config::try_parse_from([&["fovea-runner"], arguments].concat()).unwrap()
    }

    #[test]
    fn models_are_named_once() {
        let config = parse(&["--model", "a=b", "--model", "a=c"]);
        assert!(matches!(config.check(), Err(ConfigError::DuplicateModel(name)) if name == "a"));
        assert!(Config::try_parse_from(["fovea-runner", "--model", "no-folder"]).is_err());
    }

    #[test]
    fn an_address_that_others_reach_takes_tls_and_a_token() {
        let open = ["--model", "a=b", "--listen", "0.0.0.0:9400"];
        let tls = ["--tls-cert", "c", "--tls-key", "k"];
        let token = ["--token-file", "t"];
        for given in [
            &open[..],
            &[open, tls].concat(),
            &[&open[..], &token].concat(),
        ] {
            let error = parse(given).check().unwrap_err().to_string();
            assert!(
                error.contains("--tls-cert") && error.contains("127.0.0.1"),
                "{error}"
            );
        }
        assert!(parse(&[&open[..], &tls, &token].concat()).check().is_ok());
    }

    #[test]
    fn threads_are_split_by_what_computes() {
        let config = parse(&["--model", "a=b", "--threads", "8"]);
        let threads = |compute, preprocess| Threads {
            compute,
            preprocess,
        };
        assert_eq!(config.threads(Device::Cpu), threads(8, 2));
        assert_eq!(config.threads(Device::Cuda(0)), threads(1, 7));
        let config = parse(&["--model", "a=b", "--threads", "1"]);
        assert_eq!(config.threads(Device::Cpu), threads(1, 1));
        assert_eq!(config.threads(Device::Cuda(0)), threads(1, 1));
    }

    #[test]
    fn a_watchdog_that_ends_everything_is_refused() {
        for factor in ["0.5", "-1", "NaN"] {
            let config = parse(&["--model", "a=b", &format!("--watchdog-factor={factor}")]);
            assert!(matches!(
                config.check(),
                Err(ConfigError::WatchdogFactor(_))
            ));
        }
    }
}
