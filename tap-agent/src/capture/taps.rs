//! Which cgroups are tapped, here and in the kernel's maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use aya::maps::{Array, HashMap, MapData};
use tap_common::{MAX_LEVELS, MAX_PORTS, MAX_TAPS, TapConfig, TapLevels};
use tap_flow::TapId;

use super::{CaptureError, Ports, cgroup::Cgroup};

pub(super) struct Taps {
    configs: HashMap<MapData, u64, TapConfig>,
    levels: Array<MapData, TapLevels>,
    tapped: BTreeMap<TapId, Tapped>,
}

#[derive(Debug)]
struct Tapped {
    path: PathBuf,
    ancestors: Vec<u64>,
    depths: Vec<u32>,
}

impl Taps {
    pub(super) fn new(configs: HashMap<MapData, u64, TapConfig>, levels: Array<MapData, TapLevels>) -> Self {
        Self { configs, levels, tapped: BTreeMap::new() }
    }

    pub(super) fn contains(&self, tap: TapId) -> bool {
        self.tapped.contains_key(&tap)
    }

    pub(super) fn insert(&mut self, cgroup: &Cgroup, ports: &Ports) -> Result<(), CaptureError> {
        let (tap, path) = (cgroup.tap(), cgroup.path().to_owned());
        if self.contains(tap) {
            return Err(CaptureError::Tapped { path });
        }
        for (&other, Tapped { path: tapped, ancestors, .. }) in &self.tapped {
            if cgroup.is_below(other) || ancestors.contains(&tap.0) {
                return Err(CaptureError::Nested { path, tapped: tapped.clone() });
            }
        }
        if self.tapped.len() >= MAX_TAPS as usize {
            return Err(CaptureError::TooManyTaps { path });
        }
        let depths = cgroup.depths();
        let levels = levels(self.depths().chain(depths.iter().copied()))
            .ok_or_else(|| CaptureError::TooManyLevels { path: path.clone() })?;
        let config = config(ports).ok_or_else(|| too_many_ports(&path, ports))?;

        self.levels
            .set(0, levels, 0)
            .map_err(|source| CaptureError::map("set the depths of the taps", source))?;
        self.configs.insert(tap.0, config, 0).map_err(|source| CaptureError::map("add a tap", source))?;
        self.tapped.insert(tap, Tapped { path, ancestors: cgroup.ancestors().to_owned(), depths });
        Ok(())
    }

    /// The kernel replaces a map's value as a whole: a program that runs at this moment reads either.
    pub(super) fn set_ports(&mut self, tap: TapId, ports: &Ports) -> Result<(), CaptureError> {
        let Some(Tapped { path, .. }) = self.tapped.get(&tap) else {
            return Err(CaptureError::UnknownTap { tap });
        };
        let config = config(ports).ok_or_else(|| too_many_ports(path, ports))?;
        self.configs.insert(tap.0, config, 0).map_err(|source| CaptureError::map("change a tap", source))
    }

    pub(super) fn remove(&mut self, tap: TapId) {
        self.tapped.remove(&tap);
        // An entry that stays does no harm but take its place: no program finds it.
        if let Err(error) = self.configs.remove(&tap.0) {
            tracing::warn!(tap = tap.0, %error, "cannot remove a tap from the kernel's map");
        }
        if let Some(levels) = levels(self.depths())
            && let Err(error) = self.levels.set(0, levels, 0)
        {
            tracing::warn!(tap = tap.0, %error, "cannot set the depths of the taps");
        }
    }

    fn depths(&self) -> impl Iterator<Item = u32> {
        self.tapped.values().flat_map(|tapped| tapped.depths.iter().copied())
    }
}

impl std::fmt::Debug for Taps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taps").field("tapped", &self.tapped).finish_non_exhaustive()
    }
}

fn too_many_ports(path: &Path, ports: &Ports) -> CaptureError {
    let count = if let Ports::Only(ports) = ports { ports.len() } else { 0 };
    CaptureError::Ports { path: path.to_owned(), count }
}

/// The kernel's list of depths; `None` when it is too short.
fn levels(depths: impl Iterator<Item = u32>) -> Option<TapLevels> {
    let distinct: BTreeSet<u32> = depths.collect();
    let mut value = TapLevels::default();
    if distinct.len() > MAX_LEVELS {
        return None;
    }
    for (level, depth) in value.levels.iter_mut().zip(distinct) {
        *level = depth + 1;
    }
    Some(value)
}

/// The kernel's form of a filter; `None` when it doesn't fit. An empty list is a mistake and not "all".
fn config(ports: &Ports) -> Option<TapConfig> {
    let mut value = TapConfig::default();
    if let Ports::Only(ports) = ports {
        if ports.is_empty() || ports.len() > MAX_PORTS {
            return None;
        }
        value.ports[..ports.len()].copy_from_slice(ports);
        value.port_count = ports.len() as u32;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_holds_one_to_sixteen_ports() {
        assert_eq!(config(&Ports::All), Some(TapConfig::default()));
        assert_eq!(config(&Ports::Only(vec![])), None);
        let ports: Vec<u16> = (1..=16).collect();
        let full = config(&Ports::Only(ports.clone())).expect("sixteen ports fit");
        assert_eq!((full.ports.to_vec(), full.port_count), (ports, 16));
        assert_eq!(config(&Ports::Only((1..=17).collect())), None);
    }

    #[test]
    fn depths_are_listed_once_and_shifted_by_one() {
        let value = levels([3, 0, 3, 5].into_iter()).expect("three depths fit");
        assert_eq!(value.levels[..4], [1, 4, 6, 0]);
        assert_eq!(levels(0..16).expect("sixteen depths fit").levels[15], 16);
        assert_eq!(levels(0..17), None);
    }
}
