//! Addresses of the network: IPv4, IPv6, MAC.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Detector, Found, Text};

/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
const MAX_V6: usize = 45;

/// Words before (or in the field's name) that make four numbers a version.
const VERSION: &[&str] = &["version", "ver", "release", "build", "firmware", "oid"];

/// An IPv4 address that begins with the word of digits at `start`; where it ends.
pub(super) fn v4_at(text: &Text<'_>, start: usize, found: &mut Found) -> Option<usize> {
    let length = text.run(start, 16, |byte| byte.is_ascii_digit() || byte == b'.');
    let mut end = start + length;
    if text[end - 1] == b'.' {
        end -= 1;
    }
    let address: Ipv4Addr = std::str::from_utf8(&text[start..end]).ok()?.parse().ok()?;
    let after = (text.byte(end), text.byte(end + 1));
    let goes_on = after.0.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        || (matches!(after.0, Some(b'-' | b'+')) && after.1.is_some_and(|byte| byte.is_ascii_alphanumeric()));
    // `Chrome/120.0.1.2` is a product, `//10.1.2.3` is not.
    let product = text.before(start) == Some(b'/')
        && start.checked_sub(2).and_then(|at| text.byte(at)).is_some_and(|byte| byte.is_ascii_alphabetic());
    if goes_on || product || !text.may_start(start) || !is_host_v4(address) {
        return None;
    }
    if text.context.has(text, start, VERSION) {
        return None;
    }
    found.push(Detector::IpAddress, start..end).then_some(end)
}

/// Whether an address tells of a host: none, the host itself, networks, masks and the documentation's do not.
fn is_host_v4(address: Ipv4Addr) -> bool {
    let [first, _, third, last] = address.octets();
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_documentation()
        || first == 255
        || first == 0
        || (third == 0 && last == 0))
}

/// A MAC or IPv6 address whose first group is the word from `start` to `end`; where it ends.
pub(super) fn grouped_at(text: &Text<'_>, start: usize, end: usize, found: &mut Found) -> Option<usize> {
    mac_at(text, start, end, found).or_else(|| v6_at(text, start, found))
}

fn v6_at(text: &Text<'_>, word: usize, found: &mut Found) -> Option<usize> {
    let colons = text[..word].iter().rev().take(2).take_while(|byte| **byte == b':').count();
    let start = if colons == 2 { word - 2 } else { word };
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
    let mut end = start + text.run(start, MAX_V6 + 1, is_part);
    if text.byte(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    while end > start && matches!(text[end - 1], b'.' | b':') && !text[..end].ends_with(b"::") {
        end -= 1;
    }
    let candidate = &text[start..end];
    if candidate.iter().filter(|byte| **byte == b':').count() < 2 {
        return None;
    }
    let address: Ipv6Addr = std::str::from_utf8(candidate).ok()?.parse().ok()?;
    let bounded =
        !text.before(start).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'));
    if !bounded || !is_host_v6(address) {
        return None;
    }
    found.push(Detector::IpAddress, start..end).then_some(end)
}

/// Global, unique local and link-local addresses, and mapped IPv4 ones; `a::b` in a program is none of them.
fn is_host_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_host_v4(mapped);
    }
    let first = address.segments()[0];
    let documentation = address.segments()[..2] == [0x2001, 0xdb8];
    !documentation && (first >> 13 == 1 || first >> 9 == 0x7e || first >> 6 == 0x3fa)
}

/// How a MAC address is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MacStyle {
    /// `00:00:5e:00:53:01` or with dashes.
    Pairs(u8),
    /// `0000.5e00.5301`
    Dotted,
}

/// The style in which the text begins with a MAC address.
pub(crate) fn mac_style(text: &[u8]) -> Option<MacStyle> {
    let hex_but = |length: usize, every: usize, mark: u8| {
        text.get(..length).is_some_and(|text| {
            text.iter().enumerate().all(|(at, byte)| {
                if at % every == every - 1 { *byte == mark } else { byte.is_ascii_hexdigit() }
            })
        })
    };
    match *text.get(2)? {
        mark @ (b':' | b'-') if hex_but(17, 3, mark) => Some(MacStyle::Pairs(mark)),
        _ if hex_but(14, 5, b'.') => Some(MacStyle::Dotted),
        _ => None,
    }
}

fn mac_at(text: &Text<'_>, start: usize, end: usize, found: &mut Found) -> Option<usize> {
    if !matches!(end - start, 2 | 4) {
        return None;
    }
    let style = mac_style(&text[start..])?;
    let (end, marks) = match style {
        MacStyle::Pairs(_) => (start + 17, &b":-"[..]),
        MacStyle::Dotted => (start + 14, &b"."[..]),
    };
    // Part of a longer chain: a fingerprint.
    let chained = |mark: Option<u8>, beyond: Option<u8>| {
        mark.is_some_and(|mark| mark.is_ascii_alphanumeric())
            || (mark.is_some_and(|mark| marks.contains(&mark))
                && beyond.is_some_and(|byte| byte.is_ascii_hexdigit()))
    };
    let beyond = start.checked_sub(2).and_then(|at| text.byte(at));
    if chained(text.before(start), beyond) || chained(text.byte(end), text.byte(end + 1)) {
        return None;
    }
    let mut octets = [0_u8; 6];
    let digits = text[start..end].iter().filter_map(|byte| char::from(*byte).to_digit(16));
    for (at, digit) in digits.enumerate().take(12) {
        octets[at / 2] = octets[at / 2] << 4 | digit as u8;
    }
    let is_host = octets[..3] != MAC_TOKEN && octets != [0; 6] && octets[0] & 1 == 0;
    // `2026.1121.1405` is no address.
    let letters = text[start..end].iter().any(u8::is_ascii_alphabetic);
    (is_host && (letters || style != MacStyle::Dotted) && found.push(Detector::MacAddress, start..end))
        .then_some(end)
}

/// What tokens of MAC addresses begin with: locally administered, so that no maker has it.
pub(crate) const MAC_TOKEN: [u8; 3] = [0x02, 0x00, 0x5e];
