//! The command line and the environment (`FOVEA_RUNNER_..`), and what of it cannot be.

use crate::image::MAX_PIXELS;
use crate::weights::Placement;
use clap::{Parser, ValueEnum};
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
    /// Address to listen on; plain HTTP, so a loopback one. Port 0 takes a free one.
    #[arg(long, env = "FOVEA_RUNNER_LISTEN", default_value = "127.0.0.1:9400")]
    pub listen: SocketAddr,

    /// A model to keep: the pool's name for it, and its checkpoint's folder. Repeatable.
    #[arg(
        long = "model",
        env = "FOVEA_RUNNER_MODELS",
        value_name = "NAME=DIR",
        value_delimiter = ',',
        required = true
    )]
    pub models: Vec<ModelFlag>,

    /// Where the models live; `auto` is CUDA where there is one.
    #[arg(long, env = "FOVEA_RUNNER_DEVICE", value_enum, default_value = "auto")]
    pub device: DeviceFlag,

    /// The type of weights and activations; `auto` is bfloat16 on a GPU, float32 on a CPU.
    #[arg(long, env = "FOVEA_RUNNER_DTYPE", value_enum, default_value = "auto")]
    pub dtype: DtypeFlag,

    /// Requests taken at once; the next is answered 503.
    #[arg(long, env = "FOVEA_RUNNER_SLOTS", default_value = "4")]
    pub slots: NonZeroU32,

    /// Most pictures in one pass.
    #[arg(long, env = "FOVEA_RUNNER_MAX_BATCH_SIZE", default_value = "8")]
    pub max_batch_size: NonZeroUsize,

    /// Threads that compute; by default as many as the process may use (its affinity and its
    /// cgroup's CPU quota).
    #[arg(long, env = "FOVEA_RUNNER_THREADS")]
    pub threads: Option<NonZeroUsize>,

    /// File with the bearer token that requests must carry.
    #[arg(long, env = "FOVEA_RUNNER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

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

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// What of a configuration cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The port would be open to others without TLS.
    #[error(
        "--listen {0} is not a loopback address, and this runner serves plain HTTP; listen on \
         127.0.0.1 or [::1] (serving TLS comes with the certificates of a RunnerPool)"
    )]
    NotLoopback(SocketAddr),
    /// Two models of one name.
    #[error("--model {0} is given twice; a name stands for one model")]
    DuplicateModel(String),
    /// The token cannot be read.
    #[error("cannot read --token-file {path}: {source}")]
    TokenFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The token is none.
    #[error("--token-file {0} is empty; put the bearer token in it")]
    EmptyToken(PathBuf),
    /// CUDA was asked for and is not there.
    #[error("--device cuda: libtorch finds no CUDA device; use --device cpu, or a CUDA libtorch")]
    NoCuda,
}

impl Config {
    /// Refuses what cannot be served safely.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.listen.ip().is_loopback() {
            return Err(ConfigError::NotLoopback(self.listen));
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

    /// The bearer token, without white space around it.
    pub fn token(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::TokenFile {
            path: path.clone(),
            source,
        })?;
        match text.trim() {
            "" => Err(ConfigError::EmptyToken(path.clone())),
            token => Ok(Some(token.to_owned())),
        }
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

    /// Threads that compute. The standard library heeds affinity and cgroup quotas, v1 and v2.
    pub fn threads(&self) -> usize {
        let available = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or(available, NonZeroUsize::get)
    }

    /// After SIGTERM, the longest wait for running requests.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(u64::from(self.drain_seconds.get()))
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
    fn an_address_that_others_reach_is_refused_with_what_to_do() {
        let config = parse(&["--model", "a=b", "--listen", "0.0.0.0:9400"]);
        let error = config.check().unwrap_err().to_string();
        assert!(
            error.contains("127.0.0.1") && error.contains("TLS"),
            "{error}"
        );
    }

    #[test]
    fn models_are_named_once() {
        let config = parse(&["--model", "a=b", "--model", "a=c"]);
        assert!(matches!(config.check(), Err(ConfigError::DuplicateModel(name)) if name == "a"));
        assert!(Config::try_parse_from(["fovea-runner", "--model", "no-folder"]).is_err());
    }

    #[test]
    fn a_token_file_without_a_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let config = parse(&["--model", "a=b", "--token-file", path.to_str().unwrap()]);
        assert!(matches!(config.token(), Err(ConfigError::TokenFile { .. })));
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(config.token(), Err(ConfigError::EmptyToken(_))));
        std::fs::write(&path, "secret\n").unwrap();
        assert_eq!(config.token().unwrap().as_deref(), Some("secret"));
    }
}
