//! The object that holds the kernel programs: checks whether it can run here, and loads it.

use std::sync::{Arc, Mutex};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{ArrayOfMaps, Map, MapData, MapError, RingBuf},
    programs::CgroupSkb,
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use nix::sys::{
    resource::{RLIM_INFINITY, Resource, setrlimit},
    utsname::uname,
};
use tap_common::{MAX_RECORD_PAYLOAD, MAX_SEGMENT_CAP};
use tap_flow::Direction;

use super::{Capture, CaptureError, CaptureOptions, SegmentRing, requests::Requests, taps::Taps};

/// The most rings: one for each CPU of a large machine.
pub const MAX_RINGS: usize = 64;

/// The least bytes of a ring: a few of the largest records. In a smaller one they would never find place.
pub const MIN_RING_BYTES: usize = 4 * MAX_RECORD_PAYLOAD as usize;

/// The most bytes of a ring: what an agent may reasonably hold.
pub const MAX_RING_BYTES: usize = 1 << 30;

/// The oldest kernel: the first in which ring buffers of different sizes can stand in for each
/// other in an array of maps (`bpf_map_meta_equal`, kernel/bpf/map_in_map.c).
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// The part of a ring after which the programs wake its reader, as a power of two: an eighth
/// leaves the reader time to come before the ring is full, and wake-ups rare.
const WAKE_SHIFT: u32 = 3;

/// The object, or nothing when it was built without the eBPF toolchain (see build.rs).
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tap-ebpf"));

pub(super) fn load(options: &CaptureOptions) -> Result<Capture, CaptureError> {
    let &CaptureOptions { rings, ring_bytes, segment_cap, judge } = options;
    check(options)?;
    if OBJECT.is_empty() {
        return Err(CaptureError::Stub);
    }
    check_kernel()?;
    // Kernels before 5.11 charge maps against this limit. Raising it takes CAP_SYS_RESOURCE; without
    // that it may still suffice, and if it doesn't, creating the maps fails and says so.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);

    let mut programs = EbpfLoader::new()
        .override_global("RING_MASK", &(rings as u32 - 1), true)
        .override_global("WAKE_BYTES", &(ring_bytes as u32 >> WAKE_SHIFT), true)
        .override_global("SEGMENT_CAP", &segment_cap, true)
        .override_global("JUDGE", &u32::from(judge), true)
        .map_max_entries("RINGS", rings as u32)
        .load(OBJECT)
        .map_err(CaptureError::load)?;
    for direction in [Direction::Ingress, Direction::Egress] {
        program(&mut programs, direction)?
            .load()
            .map_err(|source| CaptureError::program("load the kernel programs", source))?;
    }

    let requests = Requests::new(typed(take_map(&mut programs, "REQUESTS")?)?);
    let rings = make_rings(&mut programs, rings, ring_bytes, &requests)?;
    let taps =
        Taps::new(typed(take_map(&mut programs, "TAPS")?)?, typed(take_map(&mut programs, "LEVELS")?)?);
    let counters = typed(take_map(&mut programs, "COUNTERS")?)?;
    Ok(Capture { programs, taps: Arc::new(Mutex::new(taps)), counters, rings })
}

/// The program for one direction.
pub(super) fn program(programs: &mut Ebpf, direction: Direction) -> Result<&mut CgroupSkb, CaptureError> {
    let name = match direction {
        Direction::Ingress => "tap_ingress",
        Direction::Egress => "tap_egress",
    };
    programs
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(CaptureError::Missing { name })
}

fn check(options: &CaptureOptions) -> Result<(), CaptureError> {
    let &CaptureOptions { rings, ring_bytes, segment_cap, judge: _ } = options;
    if !rings.is_power_of_two() || rings > MAX_RINGS {
        let expected = format!("expected a power of two from 1 to {MAX_RINGS}");
        return Err(CaptureError::Option { name: "rings", value: rings, expected });
    }
    if !ring_bytes.is_power_of_two() || !(MIN_RING_BYTES..=MAX_RING_BYTES).contains(&ring_bytes) {
        let expected = format!("expected a power of two from {MIN_RING_BYTES} to {MAX_RING_BYTES}");
        return Err(CaptureError::Option { name: "ring_bytes", value: ring_bytes, expected });
    }
    if !(1..=MAX_SEGMENT_CAP).contains(&segment_cap) {
        let expected = format!("expected 1 to {MAX_SEGMENT_CAP}");
        return Err(CaptureError::Option { name: "segment_cap", value: segment_cap as usize, expected });
    }
    Ok(())
}

fn check_kernel() -> Result<(), CaptureError> {
    let release = match uname() {
        Ok(names) => names.release().to_string_lossy().into_owned(),
        Err(_) => return Ok(()),
    };
    match kernel_version(&release) {
        Some(version) if version < OLDEST_KERNEL => Err(CaptureError::KernelTooOld { release }),
        // What the kernel can't do shows when the programs are loaded.
        Some(_) | None => Ok(()),
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Creates the rings and puts them into the array from which the programs choose.
///
/// They are made here and not declared in the object, as their number and size are settings. All
/// have the size that was asked for; the inner map that the object declares is only their model.
fn make_rings(
    programs: &mut Ebpf,
    rings: usize,
    ring_bytes: usize,
    requests: &Requests,
) -> Result<Vec<SegmentRing>, CaptureError> {
    let failed = |source| CaptureError::map("create the rings", source);
    let array = programs.map_mut("RINGS").ok_or(CaptureError::Missing { name: "RINGS" })?;
    let mut array = ArrayOfMaps::<_, RingBuf<MapData>>::try_from(array).map_err(failed)?;
    (0..rings as u32)
        .map(|index| {
            let ringbuf = BPF_MAP_TYPE_RINGBUF as u32;
            let definition = aya_obj::Map::new_from_params(ringbuf, 0, 0, ring_bytes as u32, 0);
            let map = MapData::create(definition, "segments", None).map_err(failed)?;
            let ring = RingBuf::try_from(Map::RingBuf(map)).map_err(failed)?;
            array.set(index, &ring, 0).map_err(failed)?;
            SegmentRing::new(ring, requests.clone())
        })
        .collect()
}

fn take_map(programs: &mut Ebpf, name: &'static str) -> Result<Map, CaptureError> {
    programs.take_map(name).ok_or(CaptureError::Missing { name })
}

fn typed<M: TryFrom<Map, Error = MapError>>(map: Map) -> Result<M, CaptureError> {
    M::try_from(map).map_err(|source| CaptureError::map("use a map of the kernel programs", source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_all_shapes_are_read() {
        for (release, version) in [
            ("5.10.0-30-cloud-amd64", Some((5, 10))),
            ("6.18.44-fc-v657", Some((6, 18))),
            ("7.0-rc1", Some((7, 0))),
            ("7.0rc1", Some((7, 0))),
            ("7", None),
            ("", None),
            ("mainline", None),
        ] {
            assert_eq!(kernel_version(release), version, "{release}");
        }
        assert!((5, 9) < OLDEST_KERNEL && (6, 0) > OLDEST_KERNEL);
    }

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        let good = CaptureOptions::default();
        check(&good).expect("the defaults are valid");
        for (options, wrong) in [
            (CaptureOptions { rings: 0, ..good }, "rings"),
            (CaptureOptions { rings: 3, ..good }, "rings"),
            (CaptureOptions { rings: 128, ..good }, "rings"),
            (CaptureOptions { ring_bytes: 4096, ..good }, "ring_bytes"),
            (CaptureOptions { ring_bytes: 3 << 20, ..good }, "ring_bytes"),
            (CaptureOptions { ring_bytes: 2 << 30, ..good }, "ring_bytes"),
            (CaptureOptions { segment_cap: 0, ..good }, "segment_cap"),
            (CaptureOptions { segment_cap: MAX_SEGMENT_CAP + 1, ..good }, "segment_cap"),
        ] {
            let result = check(&options);
            assert!(matches!(result, Err(CaptureError::Option { name, .. }) if name == wrong), "{result:?}");
        }
    }
}
