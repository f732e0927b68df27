//! Memory of the models' device: a GPU's through NVML, the process's own on a CPU.

use nvml_wrapper::Nvml;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tch::Device;

/// The source of the readings, and the latest ones.
#[derive(Debug)]
pub struct DeviceMemory {
    source: Source,
    used: Gauge,
    total: Gauge,
}

#[derive(Debug)]
enum Source {
    /// The first GPU that the driver shows: a runner has one.
    Gpu(Box<Nvml>),
    Process,
}

impl DeviceMemory {
    /// Of the device that models live on. A GPU without NVML counts as the process.
    pub fn of(device: Device) -> Self {
        if device.is_cuda() {
            match Nvml::init() {
                Ok(nvml) => return Self::from(Source::Gpu(Box::new(nvml))),
                Err(error) => {
                    tracing::warn!(%error, "NVML is not available; /metrics reports the process's memory instead of the GPU's");
                }
            }
        }
        Self::of_process()
    }

    /// Of this process: what is resident, of all there is.
    pub fn of_process() -> Self {
        Self::from(Source::Process)
    }

    fn from(source: Source) -> Self {
        Self {
            source,
            used: Gauge::default(),
            total: Gauge::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "memory_used",
            "Memory in use: the GPU's, or on a CPU what of this process is resident",
            Unit::Bytes,
            self.used.clone(),
        );
        registry.register_with_unit(
            "memory",
            "All the memory of the device",
            Unit::Bytes,
            self.total.clone(),
        );
    }

    /// Reads; what cannot be read stays as it was.
    pub(super) fn read(&self) {
        let (used, total) = match &self.source {
            Source::Gpu(nvml) => {
                let memory = nvml.device_by_index(0).and_then(|gpu| gpu.memory_info());
                memory.map_or((None, None), |memory| {
                    (Some(memory.used), Some(memory.total))
                })
            }
            Source::Process => (
                kilobytes("/proc/self/status", "VmRSS:"),
                kilobytes("/proc/meminfo", "MemTotal:"),
            ),
        };
        for (gauge, bytes) in [(&self.used, used), (&self.total, total)] {
            if let Some(bytes) = bytes.and_then(|bytes| i64::try_from(bytes).ok()) {
                gauge.set(bytes);
            }
        }
    }
}

/// A line `name <number> kB` of one of the kernel's files, in bytes.
fn kilobytes(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}
