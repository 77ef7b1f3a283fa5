//! What is measured, and how runs are summed up.

use std::fs;
use std::time::Duration;

/// The bytes of memory that this process holds now.
pub(crate) fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4_096;
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has /proc/self/statm");
    let pages = statm.split(' ').nth(1).expect("its second word is the resident size");
    pages.parse::<u64>().expect("it is a number of pages") * PAGE_BYTES
}

/// The bytes of memory that this process holds now beside what it maps from files.
pub(crate) fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc/self/status");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux tells it since 4.5");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("it is a number") << 10
}

/// The most memory, in bytes, that a process has held so far; `None` once it is gone.
pub(crate) fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// The processor time, in seconds, that a process has taken so far.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    cpu_seconds_apart(pid).iter().sum()
}

/// The same, of the program and of the system for it: where memory is handed out slowly, that is the larger part.
pub(crate) fn cpu_seconds_apart(pid: u32) -> [f64; 2] {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // The second field is a name in parentheses and may hold blanks; user and system ticks are the 14th and the 15th.
    let mut fields = stat.rsplit(')').next().expect("there is a name").split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|ticks| ticks.parse::<f64>().ok()).expect("ticks are a number");
    [next(), next()].map(|ticks| ticks / TICKS_PER_SECOND)
}

/// Touches as much memory as a run will use, and frees it: a host that hands memory out lazily would have every run pay for
/// whatever the one before it happened to leave.
pub(crate) fn touch_memory(bytes: usize) {
    const PAGE_BYTES: usize = 4_096;
    let mut memory = vec![0u8; bytes];
    memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

/// The middle one of some values; the upper of two.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value that a share of all values lies at or below.
///
/// # Panics
/// Where there is no value.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "a percentile of nothing");
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * share) as usize;
    values[index.min(values.len() - 1)]
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_do_not_need_order() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(percentile(&mut [4.0, 1.0, 3.0, 2.0], 0.99), 4.0);
    }

    #[test]
    fn this_process_holds_memory() {
        assert!(resident_bytes() > 1 << 20);
        assert!(peak_bytes(std::process::id()).is_some_and(|bytes| bytes >= 1 << 20));
    }
}
