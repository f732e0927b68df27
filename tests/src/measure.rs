//! Readings of processes, and their statistics.

use anyhow::Context as _;

/// Of `/proc`, on every supported Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory of a process.
pub fn memory_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// The most resident memory that a process has had.
pub fn peak_memory_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .with_context(|| format!("no {field}"))?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// Processor time so far, that of its children included, in milliseconds.
pub fn processor_ms(own: u32) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(text) = std::fs::read_to_string(entry?.path().join("stat")) else {
            continue; // Not a process, or one that has just ended.
        };
        let (head, fields) = text.rsplit_once(')').context("no name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // As proc_pid_stat(5) numbers them, from the third.
        let field = |number: usize| -> anyhow::Result<u32> {
            Ok(fields.get(number - 3).context("a short line")?.parse()?)
        };
        let pid: u32 = head.split(' ').next().context("no pid")?.parse()?;
        let (parent, user, system) = (4, 14, 15);
        if pid == own || field(parent)? == own {
            ticks += field(user)? + field(system)?;
        }
    }
    Ok(f64::from(ticks) * 1000.0 / TICKS_PER_SECOND)
}

/// The process of that name in the pod of a node on this machine; `uid` is the pod's.
pub fn process_in_pod(uid: &str, name: &str) -> anyhow::Result<u32> {
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let read = |file: &str| std::fs::read_to_string(path.join(file)).unwrap_or_default();
        if read("comm").trim() == name && read("cgroup").contains(uid) {
            let pid = path.file_name().and_then(|name| name.to_str());
            return Ok(pid.context("a process")?.parse()?);
        }
    }
    anyhow::bail!("no process {name} in the pod {uid}")
}

/// The middle one of `values`, or the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The least value that `percent` of `values` do not exceed.
pub fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// `bytes` divided by the number of items, in KiB.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub fn kib(bytes: u64, among: usize) -> f64 {
    bytes as f64 / 1024.0 / among.max(1) as f64
}
