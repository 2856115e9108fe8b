//! CPU time, as the kernel counts it.

use std::fs;

use anyhow::{Context as _, Result, bail};

/// What the threads of a process group have run, in nanoseconds.
pub(super) fn group(group: i32) -> Result<u64> {
    let mut nanoseconds = 0;
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let path = entry.context("list /proc")?.path();
        // Processes come and go; those of a group that is measured stay.
        let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        if rest.split(' ').nth(2).and_then(|pgrp| pgrp.parse().ok()) != Some(group) {
            continue;
        }
        for thread in fs::read_dir(path.join("task")).into_iter().flatten().flatten() {
            let schedule = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let ran = schedule.split(' ').next().and_then(|ran| ran.parse::<u64>().ok());
            nanoseconds += ran.context("this kernel has no schedstat")?;
        }
    }
    Ok(nanoseconds)
}

/// What all CPUs have done but idle and wait, in microseconds.
pub(super) fn machine() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
    let [user, nice, system, _idle, _wait, hard, soft, ..] = ticks[..] else {
        bail!("/proc/stat is not understood: {line}");
    };
    // A tick is a hundredth of a second wherever Linux shows one.
    Ok((user + nice + system + hard + soft) * 1e4)
}
