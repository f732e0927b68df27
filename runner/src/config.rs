//! The command line and the environment (`FOVEA_RUNNER_..`), and their validation.

use crate::engine::MaxBatchSize;
use crate::image::MAX_PIXELS;
use crate::server::{Tls, TlsError, TokenError, Tokens};
use crate::weights::Placement;
use clap::{Parser, ValueEnum};
use fovea_telemetry::LogFormat;
use fovea_trust::{Authorities, AuthoritiesError};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tch::{Device, Kind};

/// Fovea's runner: keeps models in memory and answers inference requests of the operator. In a
/// cluster the operator starts it; `fovea-runner fetch` downloads a model.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Address and port to listen on; port 0 picks a free one. An address that other machines can
    /// reach requires --tls-cert, --tls-key and --token-file.
    #[arg(long, env = "FOVEA_RUNNER_LISTEN", default_value = "127.0.0.1:9400")]
    pub listen: SocketAddr,

    /// Model to load at the start: its name in the RunnerPool and the folder of its checkpoint.
    /// Repeatable or comma-separated.
    #[arg(
        long = "model",
        env = "FOVEA_RUNNER_MODELS",
        value_name = "NAME=DIR",
        value_delimiter = ',',
        required_unless_present_any = ["models_dir", "cache_dir"]
    )]
    pub models: Vec<ModelFlag>,

    /// Folder that contains checkpoint folders, usually a mounted volume. The operator may have the
    /// runner load a model from it (`PUT /v1/models/{name}`).
    #[arg(long, env = "FOVEA_RUNNER_MODELS_DIR", value_name = "DIR")]
    pub models_dir: Option<PathBuf>,

    /// Folder to store downloaded checkpoints in, when the operator has the runner load a model
    /// from the object store (`PUT /v1/models/{name}`).
    #[arg(long, env = "FOVEA_RUNNER_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    /// Device to run the models on.
    #[arg(long, env = "FOVEA_RUNNER_DEVICE", value_enum, default_value = "auto")]
    pub device: DeviceFlag,

    /// Floating-point type of weights and activations.
    #[arg(long, env = "FOVEA_RUNNER_DTYPE", value_enum, default_value = "auto")]
    pub dtype: DtypeFlag,

    /// Maximum number of requests in progress; further ones are answered 503, and the operator
    /// sends them again later.
    #[arg(long, env = "FOVEA_RUNNER_SLOTS", default_value = "4")]
    pub slots: NonZeroU32,

    /// Maximum number of shards of batches in progress, beside the requests of --slots; 0 for no
    /// batches. With 2 the device is busy while the one writes its results.
    #[arg(long, env = "FOVEA_RUNNER_SHARD_SLOTS", default_value_t = 2)]
    pub shard_slots: u32,

    /// Maximum number of pictures in one pass through a model. `auto` measures larger and larger
    /// batches at the start, and stops when they no longer raise the rate in pictures per second.
    #[arg(long, env = "FOVEA_RUNNER_MAX_BATCH_SIZE", default_value = "8")]
    pub max_batch_size: MaxBatchSize,

    /// Maximum number of input pixels in one pass, after resizing; it bounds the memory of a batch.
    /// A single picture may exceed it.
    #[arg(long, env = "FOVEA_RUNNER_MAX_BATCH_PIXELS", default_value_t = 8 << 20)]
    pub max_batch_pixels: u64,

    /// Number of CPU threads. On a CPU all of them compute, and as many more decode pictures (set
    /// `GOMP_SPINCOUNT=2000`, as the image does, so that the first do not spin while the others work);
    /// with a GPU one drives it and the others decode. Large pictures (see --max-decode-bytes) have
    /// threads of their own, at most as many. Default: the CPUs that the process may use, by its
    /// affinity and its cgroup's quota.
    #[arg(long, env = "FOVEA_RUNNER_THREADS")]
    pub threads: Option<NonZeroUsize>,

    /// PEM file with the certificate chain to serve HTTPS with. The runner reloads it when it
    /// changes.
    #[arg(
        long,
        env = "FOVEA_RUNNER_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the private key of --tls-cert.
    #[arg(
        long,
        env = "FOVEA_RUNNER_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// File with the accepted bearer tokens, one per line; a request must carry one of them. The
    /// runner reloads the file when it changes.
    #[arg(long, env = "FOVEA_RUNNER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// End the process when a pass through a model takes longer than this factor times the duration
    /// estimated at warm-up, plus --watchdog-grace-seconds: a hung GPU recovers only with a new
    /// process. At least 1.
    #[arg(long, env = "FOVEA_RUNNER_WATCHDOG_FACTOR", default_value_t = 10.0)]
    pub watchdog_factor: f64,

    /// Time in seconds that a pass may take beyond --watchdog-factor times its estimate.
    #[arg(
        long,
        env = "FOVEA_RUNNER_WATCHDOG_GRACE_SECONDS",
        default_value_t = 30
    )]
    pub watchdog_grace_seconds: u32,

    /// End the process when loading and warming up one model takes longer than this, in seconds.
    #[arg(
        long,
        env = "FOVEA_RUNNER_LOAD_DEADLINE_SECONDS",
        default_value = "1800"
    )]
    pub load_deadline_seconds: NonZeroU32,

    /// Largest accepted picture file, in bytes. A larger one fails its job without a retry.
    #[arg(long, env = "FOVEA_RUNNER_MAX_PICTURE_BYTES", default_value_t = 32 << 20)]
    pub max_picture_bytes: u64,

    /// Largest accepted picture, in pixels (width times height). A larger one fails its job without
    /// a retry. Pillow warns of decompression bombs above the default.
    #[arg(long, env = "FOVEA_RUNNER_MAX_PICTURE_PIXELS", default_value_t = MAX_PIXELS)]
    pub max_picture_pixels: u64,

    /// Memory for decoding and resizing, in bytes, shared by all pictures in progress: a quarter of
    /// it for those that need at most an eighth, the rest for larger ones. A picture that needs
    /// more than three quarters is refused; one that needs more than is free waits for others of
    /// its kind. In a cluster the operator sets it to half of the pod's memory.
    #[arg(long, env = "FOVEA_RUNNER_MAX_DECODE_BYTES", default_value_t = 1536 << 20)]
    pub max_decode_bytes: u64,

    /// PEM file of certificate authorities to trust for the object store instead of the system's, of
    /// at most 384 KiB. The runner fetches pictures and models only from the store, and writes
    /// batches' results only there. It reads the file again when it changes.
    #[arg(long, env = "FOVEA_RUNNER_S3_CA_FILE", value_name = "FILE")]
    pub s3_ca_file: Option<PathBuf>,

    /// Timeout between two pieces of a picture's download from the object store, in seconds.
    #[arg(long, env = "FOVEA_RUNNER_FETCH_SILENCE_SECONDS", default_value = "20")]
    pub fetch_silence_seconds: NonZeroU32,

    /// Time in seconds that running requests have to finish after SIGTERM; then they are aborted,
    /// and the operator retries them on another runner.
    #[arg(long, env = "FOVEA_RUNNER_DRAIN_SECONDS", default_value = "25")]
    pub drain_seconds: NonZeroU32,

    /// Format of the log on standard error. Its level is set by the environment variable `RUST_LOG`,
    /// such as `debug` (default: `info`).
    #[arg(
        long,
        env = "FOVEA_RUNNER_LOG_FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// A `NAME=DIR` value of --model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFlag {
    /// The pool's name for the model.
    pub name: String,
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

/// Device to run models on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceFlag {
    /// A CUDA GPU if there is one, else the CPU.
    Auto,
    /// A CUDA GPU; the start fails without one.
    Cuda,
    /// The CPU, even if there is a GPU.
    Cpu,
}

/// Floating-point type of weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DtypeFlag {
    /// bfloat16 on a GPU, float32 on a CPU.
    Auto,
    /// 32 bits, the default of Hugging Face transformers.
    Float32,
    /// 16 bits, with the exponent range of float32.
    Bfloat16,
}

/// Number of threads per purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Threads that compute on the CPU, or drive the GPU.
    pub compute: usize,
    /// Threads that decode and resize pictures.
    pub preprocess: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An address that others reach, without TLS or without a token.
    #[error(
        "--listen {0} is an address that others reach; give --tls-cert, --tls-key and --token-file, \
         or listen on 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// A watchdog factor that would end every pass, or no pass.
    #[error("--watchdog-factor {0} is no number from 1")]
    WatchdogFactor(f64),
    #[error("--model {0} is given twice; a name stands for one model")]
    DuplicateModel(String),
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The certificate or its key is unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authorities of the object store are unusable.
    #[error("--s3-ca-file {0}")]
    Authorities(#[from] AuthoritiesError),
    /// --device cuda on a machine without CUDA.
    #[error("--device cuda: libtorch finds no CUDA device; use --device cpu, or a CUDA libtorch")]
    NoCuda,
}

impl Config {
    /// Checks what clap cannot: the address, the watchdog factor, the models' names.
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

    pub fn tokens(&self) -> Result<Option<Tokens>, ConfigError> {
        Ok(self.token_file.as_deref().map(Tokens::open).transpose()?)
    }

    pub fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        Ok(Some(Tls::open(cert, key)?))
    }

    pub fn authorities(&self) -> Result<Option<Authorities>, ConfigError> {
        let opened = self.s3_ca_file.as_deref().map(Authorities::open);
        Ok(opened.transpose()?)
    }

    /// Resolves `auto` of --device and --dtype on this machine.
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

    /// Splits the threads between computing and decoding. The standard library respects affinity
    /// and the quotas of cgroups v1 and v2.
    pub fn threads(&self, device: Device) -> Threads {
        let available = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let all = self.threads.map_or(available, NonZeroUsize::get);
        if device.is_cuda() {
            Threads {
                compute: 1,
                preprocess: all.saturating_sub(1).max(1),
            }
        } else {
            // The kernel shares the cores: next to a large model decoding takes next to nothing of them,
            // next to a small one most.
            Threads {
                compute: all,
                preprocess: all,
            }
        }
    }

    /// Timeout of running requests after SIGTERM.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(u64::from(self.drain_seconds.get()))
    }

    /// Time that a pass may take beyond its multiple of the estimate.
    pub fn watchdog_grace(&self) -> Duration {
        Duration::from_secs(u64::from(self.watchdog_grace_seconds))
    }

    /// Timeout of loading and warming up one model.
    pub fn load_deadline(&self) -> Duration {
        Duration::from_secs(u64::from(self.load_deadline_seconds.get()))
    }

    /// Timeout between two pieces of a download.
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
        assert_eq!(config.threads(Device::Cpu), threads(8, 8));
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
