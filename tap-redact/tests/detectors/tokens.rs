//! What holds for the tokens of whatever a detector finds.

use proptest::prelude::*;
use tap_redact::{Detector, DetectorSet, Key, Keyring, Scan, Vendor};

use crate::vectors::positives;

fn key() -> Key {
    Key::new(b"a key for tests, not for use").unwrap()
}

/// A value that the detector finds.
fn value() -> impl Strategy<Value = (Detector, String)> {
    let digits = |pattern: &'static str| pattern.prop_map(|text| text);
    let luhn = |text: String| {
        let sum: u32 = text
            .bytes()
            .rev()
            .enumerate()
            .map(|(at, byte)| {
                let digit = u32::from(byte - b'0');
                if at % 2 == 1 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
            })
            .sum();
        format!("{text}{}", (10 - sum % 10) % 10)
    };
    prop_oneof![
        "[a-z]{3,12}(\\.[a-z]{2,9})?@[a-z]{4,12}\\.(org|com|example)"
            .prop_map(|text| (Detector::Email, text)),
        digits("4[1-9][0-9]{13}").prop_map(move |text| (Detector::PaymentCard, luhn(text))),
        digits("5[1-4][0-9]{13}").prop_map(move |text| (Detector::PaymentCard, luhn(text))),
        digits("37[0-79][0-9]{11}").prop_map(move |text| (Detector::PaymentCard, luhn(text))),
        "\\+49 [1-9][0-9]{2} [0-9]{5,8}".prop_map(|text| (Detector::Phone, text)),
        "\\+1[2-9][0-8][0-9][2-46-9][0-9]{6}".prop_map(|text| (Detector::Phone, text)),
        "\\([2-9][0-8][0-9]\\) [2-46-9][0-9]{2}-[0-9]{4}".prop_map(|text| (Detector::Phone, text)),
        (1..=223_u8, any::<u8>(), 1..255_u8, 1..255_u8).prop_filter_map(
            "an address of a host",
            |(a, b, c, d)| {
                let address = std::net::Ipv4Addr::new(a, b, c, d);
                (a != 127 && !address.is_documentation()).then(|| (Detector::IpAddress, address.to_string()))
            }
        ),
        any::<[u16; 7]>().prop_map(|rest| {
            let [a, b, c, d, e, f, g] = rest;
            (Detector::IpAddress, std::net::Ipv6Addr::new(0x2a00, a, b, c, d, e, f, g.max(1)).to_string())
        }),
        "00:1b:[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}:[0-9a-f]{2}".prop_map(|text| (Detector::MacAddress, text)),
        "ghp_[A-Za-z0-9]{36}".prop_map(|text| (Detector::ApiKey(Vendor::GitHub), text)),
    ]
}

/// No stretch of eight of the value's letters and digits, or of half of them where it is shorter, is in the token: of a
/// phone number, of what follows its country.
fn has_nothing_of(token: &str, value: &str, detector: Detector) -> bool {
    let value = if detector == Detector::Email { value.split('@').next().unwrap_or_default() } else { value };
    let length = value.len().div_ceil(2).clamp(4, 8);
    !value.as_bytes().windows(length).any(|part| {
        part.iter().filter(|byte| byte.is_ascii_alphanumeric()).count() * 4 > length * 3
            && token.as_bytes().windows(length).any(|window| window == part)
    })
}

fn luhn(text: &str) -> bool {
    let sum: u32 = text
        .bytes()
        .filter(u8::is_ascii_digit)
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte - b'0');
            if at % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn mod_97(iban: &str) -> u32 {
    let compact: String = iban.chars().filter(char::is_ascii_alphanumeric).collect();
    let turned = format!("{}{}", &compact[4..], &compact[..4]);
    turned
        .chars()
        .filter_map(|char| char.to_digit(36))
        .fold(0, |rest, value| (rest * if value < 10 { 10 } else { 100 } + value) % 97)
}

fn shape(text: &str) -> String {
    text.chars()
        .map(|char| {
            if char.is_ascii_digit() {
                '9'
            } else if char.is_ascii_alphabetic() {
                'a'
            } else {
                char
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn a_token_is_stable_keyed_and_nothing_of_the_value((detector, value) in value()) {
        let token = key().token(detector, &value);
        prop_assert_eq!(&token, &key().token(detector, &value), "the same on another node");
        let other = Key::new(b"another key for tests only").unwrap();
        // Few addresses are for documentation.
        if detector != Detector::IpAddress {
            prop_assert_ne!(&token, &other.token(detector, &value), "another under another key");
        }
        prop_assert_ne!(&token, &value);
        prop_assert!(has_nothing_of(&token, &value, detector), "{} of {}", token, value);
        prop_assert_eq!(&key().token(detector, &token), &token, "a token is its own token");
        let found = Scan::new(DetectorSet::all()).find(&token, None);
        prop_assert!(found.is_empty(), "{} is found: {:?}", token, found);
    }

    #[test]
    fn a_token_keeps_the_format((detector, value) in value()) {
        let token = key().token(detector, &value);
        match detector {
            Detector::Email => prop_assert!(token.ends_with("@redacted.example")),
            Detector::PaymentCard => {
                prop_assert!(luhn(&token) && token.len() == value.len() && token.as_bytes()[0] == value.as_bytes()[0], "{}", token);
            }
            Detector::Phone | Detector::MacAddress => {
                let mark = |text: &str| shape(text).replace('a', "9");
                prop_assert_eq!(mark(&token), mark(&value));
            }
            Detector::IpAddress => {
                let (before, after): (std::net::IpAddr, std::net::IpAddr) = (value.parse().unwrap(), token.parse().unwrap());
                prop_assert_eq!(before.is_ipv4(), after.is_ipv4());
            }
            _ => prop_assert!(token.starts_with("tok_") && token.len() == 24, "{}", token),
        }
    }

    #[test]
    fn any_text_has_a_token_that_is_stable(value in "\\PC{0,60}") {
        for detector in Detector::all() {
            let token = key().token(detector, &value);
            prop_assert_eq!(token.is_empty(), value.trim_ascii().is_empty());
            prop_assert_eq!(&token, &key().token(detector, &value));
        }
    }

    #[test]
    fn detectors_take_any_text(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40), field in "[a-z_]{0,12}") {
        let text = pieces.concat();
        let scan = Scan::new(DetectorSet::all());
        let mut end = 0;
        for found in scan.find(&text, Some(&field)) {
            prop_assert!(found.range.start >= end && found.range.end > found.range.start && text.get(found.range.clone()).is_some());
            end = found.range.end;
        }
        prop_assert!(end == 0 || !scan.is_clean(text.as_bytes()), "the prefilter passes {}", text);
    }
}

/// What detectors look at, to be put together in ways that nobody thought of.
const PIECES: &[&str] = &[
    "4111111111111111",
    "4111",
    " ",
    "-",
    "+",
    "+49",
    "(",
    ")",
    ".",
    "@",
    "a@b.de",
    "DE89",
    "3704",
    "eyJ",
    "eyJhbGciOiJub25lIn0",
    "AKIA",
    "IOSFODNN7EXAMPLE",
    "://",
    "u:p@",
    "é",
    "ü@ö.de",
    "\u{a0}",
    "1.2.3.4",
    "::",
    "fe80",
    ":",
    "00",
    "1990-01-31",
    "born ",
    "123-45-6789",
    "AB 12 34 56 C",
    "-----BEGIN ",
    "PRIVATE KEY-----",
    "-----END ",
    "secret=",
    "password ",
    "x8Q~",
    "12345678Z",
    "52.52000",
    ",",
    "0",
    "9",
    "a",
    "Z",
    "\n",
    "=",
    "/",
    "日",
];

#[test]
fn what_detectors_find_gets_a_token_that_they_leave() {
    let scan = Scan::new(DetectorSet::all());
    let mut wrong = Vec::new();
    for (detector, value, field) in positives() {
        let token = key().token(detector, &value);
        assert_eq!(token, key().token(detector, &value));
        if token == value {
            wrong.push(format!("{detector}: {value} stays"));
        }
        // Dates have no room for a mark.
        let again =
            scan.find(&token, field.as_deref()).into_iter().filter(|found| found.detector == detector);
        if detector != Detector::DateOfBirth && again.count() > 0 {
            wrong.push(format!("{detector}: the token {token} of {value} is found"));
        }
        if !has_nothing_of(&token, &value, detector) && detector != Detector::Iban {
            wrong.push(format!("{detector}: {token} has a part of {value}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ibans_stay_ibans() {
    for iban in ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "MT84MALT011000012345MTLCAST001S"] {
        let token = key().token(Detector::Iban, iban);
        assert!(mod_97(&token) == 1 && token[..2] == iban[..2], "{token}");
        assert_eq!(shape(&token), shape(iban));
        assert_eq!(key().token(Detector::Iban, &token), token);
    }
    let spaced = key().token(Detector::Iban, "DE89 3704 0044 0532 0130 00").replace(' ', "");
    assert_eq!(spaced, key().token(Detector::Iban, "DE89370400440532013000"), "however it is written");
}

#[test]
fn a_phone_number_is_one_however_it_is_written() {
    let token =
        |value: &str| key().token(Detector::Phone, value).replace(|char: char| !char.is_ascii_digit(), "");
    assert_eq!(token("+49 30 1234567"), token("+49 (30) 123-4567"));
    assert_eq!(token("+1 212 555 0123"), format!("1{}", token("(212) 555-0123")));
    assert_eq!(token("004930 1234567")[2..], token("+49 30 1234567"));
}

#[test]
fn a_web_token_stays_one_and_says_nothing() {
    let value = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6Ik1hZGUgVXAifQ.c2lnbmF0dXJlLW5vdC1yZWFsLXNpZ25hdHVyZQ";
    let token = key().token(Detector::Jwt, value);
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    assert!(parts[2].is_empty(), "{token}");
    assert!(has_nothing_of(&token, value, Detector::Jwt), "{token}");
    assert_eq!(key().token(Detector::Jwt, &token), token);
    assert_eq!(key().token(Detector::Credential, value), token, "whatever the field is called");
    let found = Scan::new(DetectorSet::all()).find(&token, Some("Authorization"));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn coordinates_lie_in_the_ocean() {
    let token = key().token(Detector::Geo, "52.520008, -13.404954");
    let numbers: Vec<f64> = token.split(", ").map(|number| number.parse().unwrap()).collect();
    assert!(numbers.iter().all(|number| number.abs() < 1.0), "{token}");
    assert_eq!(shape(&token), "9.999999, -9.999999");
    assert_eq!(key().token(Detector::Geo, &token), token);
}

#[test]
fn a_ring_knows_the_tokens_of_its_earlier_keys() {
    let old = "00112233445566778899aabbccddeeff";
    let new = "ffeeddccbbaa99887766554433221100";
    let before = Keyring::parse(format!("a = {old}").as_bytes()).unwrap();
    let after = Keyring::parse(format!("# rotated\nb = {new}\n\na = {old}\n").as_bytes()).unwrap();
    assert_eq!((before.current().id(), after.current().id(), after.previous()[0].id()), ("a", "b", "a"));
    for value in ["a secret of some length", "6fa459ea-ee8a-7ca4-894e-db77e160355e"] {
        let token = before.current().token(Detector::Credential, value);
        assert_ne!(token, after.current().token(Detector::Credential, value));
        assert_eq!(token, after.current().token(Detector::Credential, &token), "known after the rotation");
        let alone = Keyring::parse(new.as_bytes()).unwrap();
        assert_ne!(token, alone.current().token(Detector::Credential, &token), "unknown without its key");
    }
    assert_eq!(Keyring::parse(old.as_bytes()).unwrap().current().id().len(), 8);
    for wrong in ["a = 0011", &format!("a = {old}\na = {new}")] {
        let error = Keyring::parse(wrong.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line "), "{error}");
        assert!(!error.contains("0011"), "{error}");
    }
}
