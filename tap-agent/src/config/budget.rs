//! Checks what the agent may use.

use std::path::Path;

use super::{BudgetSettings, Errors, MIB, RingConfig};
use crate::budget::{Budget, memory_limit};

/// Beside the rings: the program itself, some connections, some of the spool.
const LEAST_BESIDE_RINGS: u64 = 32 * MIB;

/// Below this share of a core nothing could be followed.
const LEAST_CPU: f64 = 0.01;

/// No machine has more.
const MOST_CPU: f64 = 4096.0;

/// Most that makes sense of a setting in bytes.
const MOST_MEMORY: u64 = 1 << 50;

pub(super) fn check(settings: &BudgetSettings, rings: &RingConfig, errors: &mut Errors) -> Budget {
    let BudgetSettings { memory, cpu } = settings;
    let limit = memory_limit(Path::new("/proc"));
    let memory = match memory {
        None => limit,
        Some(_) => {
            let least = rings.total_bytes() + LEAST_BESIDE_RINGS;
            let set = errors.bytes("budget.memory", memory.as_ref(), 0, least, MOST_MEMORY);
            // The kernel ends whoever goes past the limit of its cgroup.
            Some(limit.map_or(set, |limit| limit.min(set)))
        }
    };
    if let Some(cores) = cpu
        && !(LEAST_CPU..=MOST_CPU).contains(cores)
    {
        errors.add("budget.cpu", format_args!("must be {LEAST_CPU} to {MOST_CPU} cores, is {cores}"));
    }
    Budget { memory, cpu: *cpu }
}
