//! Tokens: stable, keyed, and of the format of the value.

use tap_flow::Completeness;
use tap_redact::{Key, KeyError, Redactor, Settings};

use crate::sample::{
    exchange, headers, redact_body, redact_body_with, redacted_header, redacted_target, redacted_text, text,
    token_of,
};

fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            if place % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[test]
fn a_token_keeps_the_format() {
    let email = token_of("Alice.Smith+x@mail.example.com");
    assert!(email.starts_with("u_") && email.ends_with("@redacted.example"), "{email}");
    assert_eq!(email, token_of("alice.smith+X@MAIL.example.com"));

    let card = token_of("4111111111111111");
    assert!(card.len() == 16 && card.starts_with("400000") && luhn(&card), "{card}");
    assert_ne!(card, "4111111111111111");
    let spaced = token_of("4111 1111-1111 1111");
    assert_eq!(spaced.replace(['-', ' '], ""), card, "however it is written");
    assert_eq!((&spaced[4..5], &spaced[9..10], &spaced[14..15]), (" ", "-", " "));
    let amex = token_of("371449635398431");
    assert!(amex.len() == 15 && amex.starts_with("378282") && luhn(&amex), "{amex}");

    let phone = token_of("+49 (30) 1234-5678");
    assert_eq!(phone.replace(|c: char| c.is_ascii_digit(), "0"), "+00 (00) 0000-0000");
    assert!(!phone.contains("1234") && !phone.contains("5678"), "{phone}");
    assert!(token_of("0171234567").starts_with('0'));

    let uuid = token_of("6fa459ea-ee8a-7ca4-894e-db77e160355e");
    assert!(uuid.len() == 36 && &uuid[14..15] == "7" && &uuid[19..20] == "8", "{uuid}");
    assert_eq!(token_of("6FA459EA-EE8A-7CA4-894E-DB77E160355E"), uuid.to_ascii_uppercase());

    let date = token_of("1990-01-31");
    assert!(date[..4].parse::<u32>().is_ok_and(|year| (1940..=2000).contains(&year)), "{date}");
    assert!(date[5..7].parse::<u32>().is_ok_and(|month| (1..=12).contains(&month)), "{date}");
    assert_eq!(token_of("1990-01-31T08:15:00.25Z")[10..], *"T00:00:00.00Z");
    assert_eq!(token_of("31.01.1990").replace(|c: char| c.is_ascii_digit(), "0"), "00.00.0000");

    let other = token_of("correct horse battery staple");
    assert!(other.starts_with("tok_") && other.len() == 24, "{other}");
}

#[test]
fn equal_values_get_equal_tokens_in_every_place() {
    let token = token_of("s3cret-value");
    assert_eq!(redacted_header("Authorization", "Bearer s3cret-value"), format!("Bearer {token}"));
    assert_eq!(redacted_header("Cookie", "a=s3cret-value"), format!("a={token}"));
    assert_eq!(redacted_header("Cookie", "a=s3cret%2Dvalue"), format!("a={token}"));
    assert_eq!(redacted_target("/x?token=s3cret%2dvalue"), format!("/x?token={token}"));
    assert_eq!(
        redacted_text("application/json", r#"{"token":"s3cret\u002dvalue"}"#),
        format!(r#"{{"token":"{token}"}}"#)
    );
    assert_eq!(
        redacted_text("application/x-www-form-urlencoded", "token=s3cret-value"),
        format!("token={token}")
    );
    let card = token_of("4111111111111111");
    assert_eq!(
        redacted_text("application/json", r#"{"card":4111111111111111}"#),
        format!(r#"{{"card":{card}}}"#)
    );
}

#[test]
fn another_key_gives_other_tokens() {
    let with = |key: &[u8]| {
        let mut exchange = exchange();
        exchange.request.as_mut().unwrap().headers = headers(&[("X-Api-Key", "value")]);
        let redactor = Redactor::new(&Settings::default(), Key::parse(key).unwrap()).unwrap();
        redactor.redact(exchange).get().request.as_ref().unwrap().headers.at(0).unwrap().value.to_vec()
    };
    assert_ne!(with(b"0123456789abcdef0"), with(b"0123456789abcdef1"));
    // Hexadecimal in either case, white space around it.
    assert_eq!(
        with(b" 000102030405060708090a0B0C0D0E0F\n"),
        with(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    );
    assert_eq!(Key::parse(b"00ff").unwrap_err(), KeyError::TooShort { length: 2 });
    assert_eq!(format!("{:?}", Key::new(b"0123456789abcdef").unwrap()), "Key(…)");
}

#[test]
fn numbers_stay_numbers() {
    for number in ["0", "7", "-12.50", "0.25", "1e5", "1.5E-3", "9223372036854775807", "12345678901234567890"]
    {
        let redacted = redacted_text("application/json", &format!("{{\"pin\":{number}}}"));
        let value: serde_json::Value =
            serde_json::from_str(&redacted).unwrap_or_else(|_| panic!("{redacted}"));
        assert!(value["pin"].is_number(), "{redacted}");
    }
    let huge = format!("{{\"pin\":{}}}", "7".repeat(30_000));
    let redacted = redact_body("application/json", huge.as_bytes(), Completeness::Complete);
    assert!(text(&redacted).len() < 40);
}

#[test]
fn an_audit_does_not_take_tokens_for_what_they_stand_for() {
    let document = r#"{"phone":4930123456789,"mobile":2125550123,"fax":30123456,"tel":7700900123,"hotline":49301234567,
        "callback_phone":"+49 30 1234567","card":4111111111111111,"email":"a@mail.example.org","lat":52.520008}"#;
    let redacted = redacted_text("application/json", document);
    for number in ["4930123456789", "2125550123", "30123456", "7700900123", "49301234567"] {
        assert!(!redacted.contains(number), "{number} in {redacted}");
    }
    let audit = Redactor::for_audit(Key::new(b"another key for an audit").unwrap());
    let found = redact_body_with(&audit, "application/json", redacted.as_bytes(), Completeness::Complete);
    assert!(found.redactions().is_empty(), "{:?} in {redacted}", found.redactions());
    let found = redact_body_with(&audit, "application/json", document.as_bytes(), Completeness::Complete);
    assert!(found.redactions().len() > 7, "{:?}", found.redactions());
}
