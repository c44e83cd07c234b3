//! Values as people say them: reasons, durations, sizes, counts.
//!
//! Invariant: each kind of value is put into words in one function.

use crate::decision::Reason;

/// Why an action is not up to date.
pub fn reason(reason: &Reason) -> String {
    match reason {
        Reason::FirstBuild => "first build".to_owned(),
        Reason::InputChanged { path } => format!("input changed: {path}"),
        Reason::InputAdded { path } => format!("input added: {path}"),
        Reason::InputRemoved { path } => format!("input removed: {path}"),
        Reason::CommandChanged => "its definition changed".to_owned(),
        Reason::EnvChanged { name } => format!("environment changed: {name}"),
        Reason::ToolChanged { tool } => format!("tool changed: {tool}"),
        Reason::ProbeChanged { probe } => format!("probe changed: {probe}"),
        Reason::DependencyChanged { target, path } if path.is_empty() => {
            format!("dependency changed: {target}")
        }
        Reason::DependencyChanged { target, path } => format!("dependency changed: {path} of {target}"),
        Reason::OutputsChanged => "the list of outputs changed".to_owned(),
        Reason::OutputMissing { path } => format!("output missing: {path}"),
        Reason::OutputModified { path } => format!("output modified: {path}"),
        Reason::CheckFailed => "its check failed".to_owned(),
        Reason::Expired { age } if age == "0ms" => "expired: dated later than now".to_owned(),
        Reason::Expired { age } => format!("expired: {age} old"),
        Reason::Forced => "forced".to_owned(),
        Reason::Always => "always runs".to_owned(),
        Reason::CacheEntryDamaged => "its cache entry was damaged".to_owned(),
        Reason::CacheEvicted => "evicted from the cache".to_owned(),
        Reason::RemoteUnavailable => "the remote cache is unavailable".to_owned(),
    }
}

/// A duration: `7ms`, `1.2s`, `12s`, `1m52s`, `3h02m`, `2d05h`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..10 => format!("{seconds}.{}s", ms % 1000 / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A duration that is still growing, without parts of a second.
pub fn seconds(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        _ => duration(ms),
    }
}

/// A size: `512 B`, `1.5 MiB`, `20 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    match tenths {
        100.. => format!("{} {}", tenths / 10, UNITS[power - 1]),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power - 1]),
    }
}

/// A count with its noun: `1 entry`, `2 entries`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
