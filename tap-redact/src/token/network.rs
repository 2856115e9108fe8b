//! Tokens of network addresses: those that are reserved for documentation.
//!
//! IPv4 has 768 of them (RFC 5737), so that different addresses may get the same token. IPv6 (RFC 3849) has enough.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ADDRESS, HARDWARE_ADDRESS};
use crate::{
    detect::{MAC_TOKEN, MacStyle, mac_style},
    key::Key,
};

/// RFC 5737.
const DOCUMENTATION: [[u8; 3]; 3] = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];

/// The token of an address; `None` for another text.
pub(super) fn token(key: &Key, value: &str) -> Option<String> {
    if let Ok(address) = value.parse::<IpAddr>() {
        return Some(match address {
            IpAddr::V4(address) => v4(key, address).to_string(),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(mapped) => format!("::ffff:{}", v4(key, mapped)),
                None => v6(key, address).to_string(),
            },
        });
    }
    hardware(key, value)
}

fn v4(key: &Key, address: Ipv4Addr) -> Ipv4Addr {
    if address.is_documentation() {
        return address;
    }
    let digest = key.digest(ADDRESS, &address.octets());
    let [network, host, ..] = *digest.bytes();
    let [a, b, c] = DOCUMENTATION[usize::from(network) % DOCUMENTATION.len()];
    Ipv4Addr::new(a, b, c, host)
}

fn v6(key: &Key, address: Ipv6Addr) -> Ipv6Addr {
    if address.segments()[..2] == [0x2001, 0xdb8] {
        return address;
    }
    let digest = key.digest(ADDRESS, &address.octets());
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    octets[4..].copy_from_slice(&digest.bytes()[..12]);
    octets.into()
}

fn hardware(key: &Key, value: &str) -> Option<String> {
    let style = mac_style(value.as_bytes())?;
    let length = if style == MacStyle::Dotted { 14 } else { 17 };
    if value.len() != length {
        return None;
    }
    let digits: String =
        value.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_ascii_lowercase();
    let [a, b, c] = MAC_TOKEN;
    let prefix = super::hex(&[a, b, c]);
    if digits.starts_with(&prefix) {
        return Some(value.to_owned());
    }
    let digest = key.digest(HARDWARE_ADDRESS, digits.as_bytes());
    let token = prefix + &super::hex(&digest.bytes()[..3]);
    let token =
        if value.bytes().any(|byte| byte.is_ascii_uppercase()) { token.to_ascii_uppercase() } else { token };
    let mut token = token.chars();
    let character = |char: char| if char.is_ascii_hexdigit() { token.next().unwrap_or('0') } else { char };
    Some(value.chars().map(character).collect())
}
