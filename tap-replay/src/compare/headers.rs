//! Header fields of a recorded response against those of an answer. Allocates only where something differs.

use std::collections::BTreeMap;

use tap_proto::v1;

use super::{
    difference::{Differences, Kind},
    redacted::Redacted,
    settings::Rules,
    text,
};

/// Fields of an answer that are looked at: their number enters squared, and a target may be hostile.
const MAX_FIELDS: usize = 256;
const SET_COOKIE: &str = "set-cookie";

/// Compares the header fields; `redacted` is made where it is needed.
pub(super) fn compare<'a, 'h, F: Iterator<Item = (&'h str, &'h [u8])>>(
    recorded: &[v1::Header],
    answered: impl Fn() -> F,
    rules: &Rules,
    redacted: impl Fn() -> Redacted<'a>,
    differences: &mut Differences,
) {
    let answered = || answered().take(MAX_FIELDS);
    let recorded = &recorded[..recorded.len().min(MAX_FIELDS)];
    for (index, header) in recorded.iter().enumerate() {
        let name = header.name.as_str();
        let repeats = recorded[..index].iter().any(|before| before.name.eq_ignore_ascii_case(name));
        if repeats {
            continue;
        }
        let expected = || of_name(recorded, name);
        let found =
            || answered().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        // Most fields are equal: that is cheaper to see than whether they count.
        if expected().eq(found()) || !rules.headers.compares(name) {
            continue;
        }
        let field = format!("header.{}", name.to_ascii_lowercase());
        let expected: Vec<String> = expected().map(lossy).collect();
        let found: Vec<String> = found().map(lossy).collect();
        if name.eq_ignore_ascii_case(SET_COOKIE) {
            cookies(&expected, &found, rules, &redacted(), differences);
        } else if found.is_empty() {
            differences.add(&field, Kind::Missing, &expected.join(", "), "");
        } else if redacted().header(name) {
            differences.redacted = differences.redacted.saturating_add(1);
        } else {
            values(&field, &expected.join(", "), &found.join(", "), rules, differences);
        }
    }
    for (index, (name, _)) in answered().enumerate() {
        let is_recorded = recorded.iter().any(|header| header.name.eq_ignore_ascii_case(name));
        let repeats = answered().take(index).any(|(before, _)| before.eq_ignore_ascii_case(name));
        if is_recorded || repeats || !rules.headers.compares(name) {
            continue;
        }
        let found = answered().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let found: Vec<String> = found.map(|(_, value)| lossy(value)).collect();
        if name.eq_ignore_ascii_case(SET_COOKIE) {
            cookies(&[], &found, rules, &redacted(), differences);
        } else {
            let field = format!("header.{}", name.to_ascii_lowercase());
            differences.add(&field, Kind::Added, "", &found.join(", "));
        }
    }
}

fn of_name<'a>(recorded: &'a [v1::Header], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    recorded
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value })
}

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn values(field: &str, expected: &str, found: &str, rules: &Rules, differences: &mut Differences) {
    let same = match field {
        // Lists whose order says nothing.
        "header.vary"
        | "header.allow"
        | "header.cache-control"
        | "header.access-control-allow-methods"
        | "header.access-control-allow-headers"
        | "header.access-control-expose-headers" => list(expected) == list(found),
        // The host is the target's.
        "header.location" | "header.content-location" => {
            let (expected, found) = (without_origin(expected), without_origin(found));
            expected == found || text::dynamic_only(expected, found, rules.classes, differences)
        }
        _ => false,
    };
    if same {
        return;
    }
    match rules.classes.common(expected, found) {
        Some(class) => differences.dynamic(class),
        None if text::dynamic_only(expected, found, rules.classes, differences) => {}
        None => differences.add(field, Kind::Value, expected, found),
    }
}

fn list(value: &str) -> Vec<String> {
    let mut items: Vec<_> = value.split(',').map(|item| item.trim().to_ascii_lowercase()).collect();
    items.sort_unstable();
    items
}

/// The path of a URL, with what follows.
fn without_origin(url: &str) -> &str {
    let Some((scheme, rest)) = url.split_once("://") else { return url };
    if !scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return url;
    }
    rest.find('/').map_or("/", |start| &rest[start..])
}

/// By name: the value, and the attributes but for when it ends.
fn cookies(
    expected: &[String],
    found: &[String],
    rules: &Rules,
    redacted: &Redacted<'_>,
    differences: &mut Differences,
) {
    let found = by_name(found);
    let expected = by_name(expected);
    for (name, (value, attributes)) in &expected {
        let field = format!("header.set-cookie.{name}");
        let Some((other, other_attributes)) = found.get(name) else {
            differences.add(&field, Kind::Missing, value, "");
            continue;
        };
        if attributes != other_attributes {
            let field = format!("{field} (attributes)");
            differences.add(&field, Kind::Value, &attributes.join("; "), &other_attributes.join("; "));
        }
        if value == other {
            continue;
        }
        if redacted.header("set-cookie") {
            differences.redacted = differences.redacted.saturating_add(1);
            continue;
        }
        values(&field, value, other, rules, differences);
    }
    for (name, (value, _)) in found.iter().filter(|(name, _)| !expected.contains_key(*name)) {
        differences.add(&format!("header.set-cookie.{name}"), Kind::Added, "", value);
    }
}

type Cookie<'a> = (&'a str, Vec<String>);

fn by_name(values: &[String]) -> BTreeMap<&str, Cookie<'_>> {
    values
        .iter()
        .map(|text| {
            let (pair, attributes) = text.split_once(';').unwrap_or((text, ""));
            let (name, value) = pair.split_once('=').unwrap_or(("", pair));
            let mut attributes: Vec<String> = attributes
                .split(';')
                .map(|attribute| attribute.trim().to_ascii_lowercase())
                .filter(|attribute| !attribute.is_empty() && !attribute.starts_with("expires="))
                .collect();
            attributes.sort_unstable();
            (name.trim(), (value.trim(), attributes))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tap_proto::v1::Redaction;

    use super::*;
    use crate::compare::settings::Settings;

    fn compared(
        recorded: &[(&str, &str)],
        answered: &[(&str, &str)],
        yaml: &str,
        places: &[&str],
    ) -> Vec<String> {
        let recorded: Vec<_> = recorded
            .iter()
            .map(|(name, value)| v1::Header {
                name: (*name).into(),
                value: (*value).into(),
                ..v1::Header::default()
            })
            .collect();
        let headers = || answered.iter().map(|(name, value)| (*name, value.as_bytes()));
        let redactions: Vec<_> =
            places.iter().map(|place| Redaction { place: (*place).into(), ..Redaction::default() }).collect();
        let rules = Settings::parse(yaml).unwrap().rules().unwrap();
        let mut differences = Differences::default();
        compare(&recorded, headers, &rules, || Redacted::of(&redactions), &mut differences);
        let mut shown: Vec<_> = differences
            .list
            .iter()
            .map(|difference| format!("{} {}", difference.field, difference.kind.as_str()))
            .collect();
        shown.extend((differences.redacted > 0).then(|| "redacted".to_owned()));
        shown
    }

    #[test]
    fn what_belongs_to_the_connection_or_the_moment_is_not_compared() {
        let recorded = [
            ("Date", "a"),
            ("Content-Length", "1"),
            ("X-Request-Id", "1"),
            ("X-B3-TraceId", "1"),
            ("X-App", "1"),
        ];
        assert_eq!(compared(&recorded, &[("x-app", "1"), ("age", "7")], "", &[]), Vec::<String>::new());
        assert_eq!(compared(&recorded, &[("x-app", "2")], "", &[]), ["header.x-app value"]);
        assert_eq!(compared(&recorded, &[], "", &[]), ["header.x-app missing"]);
        assert_eq!(compared(&[], &[("x-app", "2")], "", &[]), ["header.x-app added"]);
        assert_eq!(
            compared(&recorded, &[("x-app", "2")], "headers: {ignore: [X-App]}", &[]),
            Vec::<String>::new()
        );
        assert_eq!(
            compared(&recorded, &[("x-app", "2")], "headers: {only: [date]}", &[]),
            ["header.date missing"]
        );
    }

    #[test]
    fn repeated_fields_are_compared_as_a_whole() {
        let recorded = [("Link", "a"), ("link", "b")];
        assert!(compared(&recorded, &[("link", "a"), ("link", "b")], "", &[]).is_empty());
        assert_eq!(compared(&recorded, &[("link", "a")], "", &[]), ["header.link value"]);
    }

    #[test]
    fn fields_are_compared_by_what_they_mean() {
        assert!(compared(&[("Vary", "Accept, Origin")], &[("vary", "origin,accept")], "", &[]).is_empty());
        let location = [("Location", "http://prod.example:8080/cart?x=1")];
        assert!(compared(&location, &[("location", "/cart?x=1")], "", &[]).is_empty());
        assert_eq!(compared(&location, &[("location", "/cart?x=2")], "", &[]), ["header.location value"]);
        let token = [("X-Csrf", "p3Xv9Kq2LmZ8tR4wYb6N")];
        assert!(compared(&token, &[("x-csrf", "Zq8Lm2Kp9Xv3tR4wYb6N")], "", &[]).is_empty());
        assert_eq!(compared(&token, &[("x-csrf", "none")], "", &[]), ["header.x-csrf value"]);
    }

    #[test]
    fn cookies_are_compared_by_name_without_when_they_end() {
        let recorded =
            [("Set-Cookie", "a=1; Path=/; Expires=Sat, 21 Nov 2026 14:05:00 GMT"), ("Set-Cookie", "b=2")];
        let same = [("set-cookie", "b=2"), ("set-cookie", "a=1; expires=never; path=/")];
        assert!(compared(&recorded, &same, "", &[]).is_empty());
        assert_eq!(
            compared(&recorded, &[("set-cookie", "a=2; path=/x"), ("set-cookie", "c=1")], "", &[]),
            [
                "header.set-cookie.a (attributes) value",
                "header.set-cookie.a value",
                "header.set-cookie.b missing",
                "header.set-cookie.c added"
            ]
        );
    }

    #[test]
    fn a_redacted_value_is_neither_equal_nor_different_unless_it_is_the_token() {
        let recorded = [("X-User", "tok_1"), ("Set-Cookie", "s=tok_2")];
        let places = ["response.headers.x-user", "response.headers.set-cookie.s"];
        assert_eq!(
            compared(&recorded, &[("x-user", "ann"), ("set-cookie", "s=abc")], "", &places),
            ["redacted"]
        );
        assert!(
            compared(&recorded, &[("x-user", "tok_1"), ("set-cookie", "s=tok_2")], "", &places).is_empty()
        );
        assert_eq!(
            compared(&recorded, &[("set-cookie", "s=abc")], "", &places),
            ["header.x-user missing", "redacted"]
        );
    }
}
