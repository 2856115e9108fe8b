//! Documents of every kind, mangled: redaction does not panic, leaves JSON that is JSON, grows within bounds, and can be
//! applied to what it gave. The fuzz target `redact` looks for the same with more patience; `PROPTEST_CASES` lends some.

use proptest::prelude::*;
use tap_flow::{Cause, Completeness};
use tap_redact::Redactor;

use crate::sample::{redact_body_with, with_rules};

const DOCUMENTS: &[(&str, &str)] = &[
    (
        "application/json",
        r#"{"a":[1,-2.5e3,"x"],"email":"ada@mail.example.org","s":"{\"card\":\"4111111111111111\",\"t\":[null]}"}"#,
    ),
    (
        "application/json",
        r#"{"AKIAPHKQBIHQYBMQIBDD":{"n":4930123456789},"at":"2026-11-21T14:05:00Z","u":"\u00e9\ud83d\ude00\/"} [true]"#,
    ),
    (
        "application/x-www-form-urlencoded",
        "a=1&email=ada%40mail.example.org&q=%7B%22a%22%3A1%7D;b=eyJhbGciOiJub25lIn0.e30.",
    ),
    (
        "multipart/form-data; boundary=b",
        "--b\r\nContent-Disposition: form-data; name=\"email\"; filename=\"a@b.org.txt\"\r\n\r\nx\r\n--b--\r\n",
    ),
    (
        "text/html",
        "<p class=x>ada@mail.example.org<input name=password value='geheim'><!-- &#64; --><script>var a = {\"token\": 1}</script>",
    ),
    (
        "application/xml",
        "<a phone=\"+49 30 1234567\"><card>4111 1111 1111 1111</card><![CDATA[x@mail.example.org]]></a>",
    ),
    ("text/csv", "id,email,\"iban, old\"\n1,ada@mail.example.org,DE89 3704 0044 0532 0130 00\n"),
    ("text/event-stream", "event: a\ndata: {\"email\":\ndata: \"ada@mail.example.org\"}\n\n"),
    (
        "application/graphql",
        "mutation { login(email: \"ada@mail.example.org\", password: $p, n: 12) { id } }",
    ),
    (
        "text/plain",
        "10.20.30.40 - token=abc; mail ada@mail.example.org, https://u:p@host/a?key=AKIAPHKQBIHQYBMQIBDD#x 00:1b:44:11:3a:b7",
    ),
];

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    ":",
    ",",
    "=",
    "&",
    ";",
    "%",
    "%4",
    "%22",
    "<",
    "</",
    "<!--",
    "]]>",
    "&#",
    "'",
    "\n",
    "\r\n",
    "--b",
    "é",
    "\u{a0}",
    "\0",
    "://",
    "@",
    "eyJ",
    "-----BEGIN PRIVATE KEY-----",
    "19",
    "::",
    "1e9",
    "-",
    "{\"a\":",
    "e30=",
    "tok_",
];

/// What is done to a document, at a place of it in 65536ths.
#[derive(Clone, Debug)]
enum Change {
    Insert(u16, &'static str),
    Remove(u16, u8),
    Double(u16, u8),
    Set(u16, u8),
    Cut(u16),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<u16>(), proptest::sample::select(PIECES)).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<u16>(), 1..20_u8).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<u16>(), 1..60_u8).prop_map(|(at, length)| Change::Double(at, length)),
        (any::<u16>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        any::<u16>().prop_map(Change::Cut),
    ]
}

fn apply(document: &mut Vec<u8>, change: Change) {
    let place = |at: u16| usize::from(at) * document.len() / 65536;
    let range = |at: u16, length: u8| place(at)..(place(at) + usize::from(length)).min(document.len());
    match change {
        Change::Insert(at, piece) => {
            let at = place(at);
            document.splice(at..at, piece.bytes());
        }
        Change::Remove(at, length) => drop(document.drain(range(at, length))),
        Change::Double(at, length) => {
            let range = range(at, length);
            let copy = document[range.clone()].to_vec();
            document.splice(range.end..range.end, copy);
        }
        Change::Set(at, byte) => {
            let at = place(at);
            document.iter_mut().skip(at).take(1).for_each(|old| *old = byte);
        }
        Change::Cut(at) => document.truncate(place(at)),
    }
}

fn redactors() -> [Redactor; 3] {
    let all = "{bodies: {truncated: redact, files: redact, opaque: keep}, \
        rules: [{json: '$..a[*]', action: mask}, {pattern: 'a+b', action: drop}, {path: '/{a}/**', action: hash}]}";
    ["{}", "{profile: strict, bodies: {truncated: redact, files: redact}}", all].map(with_rules)
}

proptest! {
    #[test]
    fn mangled_documents(
        (media, document) in proptest::sample::select(DOCUMENTS),
        changes in proptest::collection::vec(change(), 1..8),
        truncated in any::<bool>(),
    ) {
        let mut document = document.as_bytes().to_vec();
        changes.into_iter().for_each(|change| apply(&mut document, change));
        let cut = Completeness::Truncated { bytes: 1, cause: Cause::BodyCap };
        let completeness = if truncated { cut } else { Completeness::Complete };
        for redactor in redactors() {
            let redacted = redact_body_with(&redactor, media, &document, completeness);
            let after = &redacted.get().request.as_ref().unwrap().body.content;
            prop_assert!(after.len() <= 64 * document.len() + 64, "{} of {}", after.len(), document.len());
            let is_json = |text: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
            if media == "application/json" && !truncated && is_json(&document) && !after.is_empty() {
                prop_assert!(is_json(after), "{}", after.escape_ascii());
            }
            redactor.redact(redacted.get().clone());
        }
    }
}
