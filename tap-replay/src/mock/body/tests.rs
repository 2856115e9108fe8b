use super::*;

fn json(text: &str) -> Shape {
    Shape::of(Bytes::copy_from_slice(text.as_bytes()), Some("application/json; charset=utf-8"))
}

fn equal(recorded: &Shape, sent: &Shape, mask: &[&str]) -> bool {
    let mask = Mask::new(mask.iter().map(|path| path.parse().unwrap()).collect());
    let equal = recorded.digest(&mask) == sent.digest(&mask);
    assert_eq!(equal, recorded.differences(sent, &mask, true, 8).is_empty(), "{mask:?}");
    equal
}

fn places(recorded: &Shape, sent: &Shape) -> Vec<(String, What)> {
    let differences = recorded.differences(sent, &Mask::default(), true, 8);
    differences.into_iter().map(|Difference { place, what }| (place, what)).collect()
}

#[test]
fn json_is_equal_by_its_values() {
    assert!(equal(&json(r#"{"a":1,"b":[true,null]}"#), &json(r#" {"b":[true,null],"a":1.0}"#), &[]));
    for other in [r#"{"a":2,"b":[]}"#, r#"{"a":1}"#, r#"{"a":"1","b":[]}"#, r#"{"a":1,"b":[1]}"#, "[]"] {
        assert!(!equal(&json(r#"{"a":1,"b":[]}"#), &json(other), &[]), "{other}");
    }
    assert!(!equal(&json(r#"["a","b"]"#), &json(r#"["b","a"]"#), &[]));
}

#[test]
fn masked_fields_are_not_compared() {
    let recorded = json(r#"{"id":"tok_1","items":[{"t":1,"n":1}]}"#);
    let sent = json(r#"{"items":[{"t":2,"n":1}],"id":"real","more":1}"#);
    assert!(equal(&recorded, &sent, &["$.id", "$..t", "$.more"]));
    assert!(!equal(&recorded, &sent, &["$.id", "$.more"]));
    assert!(!equal(&recorded, &sent, &["$.id", "$..t"]));
}

#[test]
fn a_subset_may_be_sent_with_more() {
    let (recorded, sent) = (json(r#"{"a":{"b":1}}"#), json(r#"{"a":{"b":1,"c":2},"d":3}"#));
    assert!(recorded.differences(&sent, &Mask::default(), false, 1).is_empty());
    assert!(!sent.differences(&recorded, &Mask::default(), false, 1).is_empty());
}

#[test]
fn differences_have_places_and_no_values() {
    let recorded = json(r#"{"amount":100,"currency":"EUR","items":[1,2],"user":{"id":"x"}}"#);
    let sent = json(r#"{"amount":200,"items":[1],"user":{"id":7},"new":1}"#);
    assert_eq!(
        places(&recorded, &sent),
        [
            ("body.$.amount".into(), What::Differs),
            ("body.$.currency".into(), What::Missing),
            ("body.$.items".into(), What::Length),
            ("body.$.user.id".into(), What::Type),
            ("body.$.new".into(), What::NotRecorded),
        ]
    );
    let empty = Shape::of(Bytes::new(), None);
    assert_eq!(places(&recorded, &empty), [("body".into(), What::Missing)]);
    assert_eq!(places(&empty, &recorded), [("body".into(), What::NotRecorded)]);
    assert_eq!(places(&Shape::Unknown, &recorded), []);
}

#[test]
fn a_signature_is_of_names_and_types() {
    let signature = |text: &str| json(text).signature();
    assert_eq!(signature(r#"{"a":1,"b":[{"c":"x"}]}"#), signature(r#"{"b":[{"c":"y"},{"c":""}],"a":2}"#));
    assert_ne!(signature(r#"{"a":1}"#), signature(r#"{"a":"1"}"#));
    assert_ne!(signature(r#"{"a":1}"#), signature(r#"{"b":1}"#));
}

#[test]
fn forms_and_multipart_bodies_are_compared_by_what_they_say() {
    let form = |text: &'static str| {
        Shape::of(Bytes::from_static(text.as_bytes()), Some("application/x-www-form-urlencoded"))
    };
    assert!(equal(&form("a=1&b=x+y&a=2"), &form("b=x%20y&a=1&a=2"), &[]));
    assert!(equal(&form("a=1&password=tok"), &form("a=1&password=real"), &["password"]));
    assert!(!equal(&form("a=1&a=2"), &form("a=2&a=1"), &[]));

    let multipart = |boundary: &str, value: &str| {
        let body = format!("--{boundary}\r\nX: 1\r\n\r\n{value}\r\n--{boundary}--\r\n");
        Shape::of(body.into(), Some(&format!("multipart/form-data; boundary={boundary}")))
    };
    assert!(equal(&multipart("abc", "v"), &multipart("XyZ123", "v"), &[]));
    assert!(!equal(&multipart("abc", "v"), &multipart("abc", "w"), &[]));
}

#[test]
fn what_is_not_json_is_compared_as_bytes() {
    let broken = json("{\"a\":");
    assert!(equal(&broken, &json("{\"a\":"), &[]) && !equal(&broken, &json("{\"a\": "), &[]));
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(matches!(json(&deep), Shape::Bytes(_)));
}
