//! Reading records from a ring: by copy, field by field, with every length checked.

use core::mem::offset_of;

use crate::record::{
    DIRECTION_EGRESS, DIRECTION_INGRESS, FAMILY_IPV4, FAMILY_IPV6, KIND_SEGMENT, RecordHeader, SegmentRecord,
    VERSION,
};

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A segment and its payload, which is `payload_len` bytes long.
    Segment(SegmentRecord, &'a [u8]),
    /// A kind or version that this reader doesn't know: to be skipped and counted.
    Unknown { kind: u16, version: u16 },
}

/// A record that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The ring's entry ends before the record does.
    Short { len: usize, needed: usize },
    /// The header's length isn't that of the fixed fields and the payload.
    Length { len: u32, payload_len: u32 },
    /// Neither IPv4 nor IPv6.
    Family(u8),
    /// Neither ingress nor egress.
    Direction(u8),
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short { len, needed } => {
                write!(f, "a ring entry of {len} bytes, shorter than the {needed} of its record")
            }
            Self::Length { len, payload_len } => {
                write!(f, "a record of {len} bytes with {payload_len} bytes of payload")
            }
            Self::Family(family) => write!(f, "unknown address family {family}"),
            Self::Direction(direction) => write!(f, "unknown direction {direction}"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Decodes the record at the start of a ring entry.
pub fn decode(entry: &[u8]) -> Result<Decoded<'_>, DecodeError> {
    let short = |needed| DecodeError::Short { len: entry.len(), needed };

    let Some(header) = entry.first_chunk::<{ size_of::<RecordHeader>() }>() else {
        return Err(short(size_of::<RecordHeader>()));
    };
    let header = RecordHeader {
        kind: u16::from_ne_bytes(at::<{ offset_of!(RecordHeader, kind) }, 2, _>(header)),
        version: u16::from_ne_bytes(at::<{ offset_of!(RecordHeader, version) }, 2, _>(header)),
        len: u32::from_ne_bytes(at::<{ offset_of!(RecordHeader, len) }, 4, _>(header)),
    };
    let (KIND_SEGMENT, VERSION) = (header.kind, header.version) else {
        return Ok(Decoded::Unknown { kind: header.kind, version: header.version });
    };

    let Some((fixed, rest)) = entry.split_first_chunk::<{ SegmentRecord::SIZE }>() else {
        return Err(short(SegmentRecord::SIZE));
    };
    let record = SegmentRecord {
        header,
        time: u64::from_ne_bytes(at::<{ offset_of!(SegmentRecord, time) }, 8, _>(fixed)),
        cookie: u64::from_ne_bytes(at::<{ offset_of!(SegmentRecord, cookie) }, 8, _>(fixed)),
        tap: u64::from_ne_bytes(at::<{ offset_of!(SegmentRecord, tap) }, 8, _>(fixed)),
        cgroup: u64::from_ne_bytes(at::<{ offset_of!(SegmentRecord, cgroup) }, 8, _>(fixed)),
        local: at::<{ offset_of!(SegmentRecord, local) }, 16, _>(fixed),
        remote: at::<{ offset_of!(SegmentRecord, remote) }, 16, _>(fixed),
        local_port: u16::from_ne_bytes(at::<{ offset_of!(SegmentRecord, local_port) }, 2, _>(fixed)),
        remote_port: u16::from_ne_bytes(at::<{ offset_of!(SegmentRecord, remote_port) }, 2, _>(fixed)),
        sequence: u32::from_ne_bytes(at::<{ offset_of!(SegmentRecord, sequence) }, 4, _>(fixed)),
        payload_len: u32::from_ne_bytes(at::<{ offset_of!(SegmentRecord, payload_len) }, 4, _>(fixed)),
        cut: u32::from_ne_bytes(at::<{ offset_of!(SegmentRecord, cut) }, 4, _>(fixed)),
        family: fixed[offset_of!(SegmentRecord, family)],
        direction: fixed[offset_of!(SegmentRecord, direction)],
        flags: fixed[offset_of!(SegmentRecord, flags)],
        _pad0: 0,
        _pad1: 0,
    };

    let SegmentRecord { payload_len, family, direction, .. } = record;
    if Some(header.len) != payload_len.checked_add(SegmentRecord::SIZE as u32) {
        return Err(DecodeError::Length { len: header.len, payload_len });
    }
    if !matches!(family, FAMILY_IPV4 | FAMILY_IPV6) {
        return Err(DecodeError::Family(family));
    }
    if !matches!(direction, DIRECTION_INGRESS | DIRECTION_EGRESS) {
        return Err(DecodeError::Direction(direction));
    }
    let payload = rest.get(..payload_len as usize).ok_or(short(header.len as usize))?;
    Ok(Decoded::Segment(record, payload))
}

/// The `N` bytes at `OFFSET`; that they are there is checked at compile time.
fn at<const OFFSET: usize, const N: usize, const LEN: usize>(bytes: &[u8; LEN]) -> [u8; N] {
    const { assert!(OFFSET + N <= LEN) };
    core::array::from_fn(|index| bytes[OFFSET + index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(KIND_SEGMENT.to_ne_bytes());
        bytes.extend(VERSION.to_ne_bytes());
        bytes.extend((SegmentRecord::SIZE as u32 + payload.len() as u32).to_ne_bytes());
        for field in [1_u64, 2, 3, 4] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(80_u16.to_ne_bytes());
        bytes.extend(40_000_u16.to_ne_bytes());
        bytes.extend(5_u32.to_ne_bytes());
        bytes.extend((payload.len() as u32).to_ne_bytes());
        bytes.extend(6_u32.to_ne_bytes());
        bytes.extend([FAMILY_IPV4, DIRECTION_EGRESS, 0x18, 0, 0, 0, 0, 0]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        let bytes = entry(b"hello");
        let expected = SegmentRecord {
            header: RecordHeader { kind: KIND_SEGMENT, version: VERSION, len: 101 },
            time: 1,
            cookie: 2,
            tap: 3,
            cgroup: 4,
            local: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            remote: [10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            local_port: 80,
            remote_port: 40_000,
            sequence: 5,
            payload_len: 5,
            cut: 6,
            family: FAMILY_IPV4,
            direction: DIRECTION_EGRESS,
            flags: 0x18,
            _pad0: 0,
            _pad1: 0,
        };
        assert_eq!(decode(&bytes), Ok(Decoded::Segment(expected, b"hello".as_slice())));
    }

    #[test]
    fn what_a_size_class_adds_is_no_payload() {
        let mut bytes = entry(b"hello");
        bytes.resize(1024, 0xaa);
        let Ok(Decoded::Segment(_, payload)) = decode(&bytes) else { panic!("not a segment") };
        assert_eq!(payload, b"hello");
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = entry(b"hello");
        for len in 0..bytes.len() {
            let error = decode(&bytes[..len]);
            assert!(
                matches!(error, Err(DecodeError::Short { len: found, .. }) if found == len),
                "{len}: {error:?}"
            );
        }
    }

    #[test]
    fn lengths_that_disagree_are_refused() {
        for len in [0, 8, 95, 96, 100, 102, u32::MAX] {
            let mut bytes = entry(b"hello");
            bytes[4..8].copy_from_slice(&u32::to_ne_bytes(len));
            assert_eq!(decode(&bytes), Err(DecodeError::Length { len, payload_len: 5 }));
        }
        let mut bytes = entry(b"hello");
        bytes[80..84].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Length { len: 101, payload_len: u32::MAX }));
    }

    #[test]
    fn unknown_kinds_and_versions_are_told_apart_from_errors() {
        for (kind, version) in [(0, 1), (2, 1), (u16::MAX, 1), (1, 0), (1, 2)] {
            let mut bytes = entry(b"hello");
            bytes[0..2].copy_from_slice(&u16::to_ne_bytes(kind));
            bytes[2..4].copy_from_slice(&u16::to_ne_bytes(version));
            assert_eq!(decode(&bytes), Ok(Decoded::Unknown { kind, version }));
            assert_eq!(decode(&bytes[..8]), Ok(Decoded::Unknown { kind, version }));
        }
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        let mut bytes = entry(b"");
        bytes[88] = 5;
        assert_eq!(decode(&bytes), Err(DecodeError::Family(5)));
        let mut bytes = entry(b"");
        bytes[89] = 2;
        assert_eq!(decode(&bytes), Err(DecodeError::Direction(2)));
    }
}
