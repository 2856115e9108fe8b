//! Any bytes as the body, the target and the header fields of a message: redaction does not panic, leaves JSON that is
//! JSON, grows within bounds, and can be applied to what it gave.
//!
//! The first byte chooses the media type and the settings.

#![no_main]

use std::{net::SocketAddr, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use tap_flow::{
    Body, Cause, CgroupId, Completeness, Exchange, FlowKey, Headers, Request, Role, Span, TapId,
    Version,
};
use tap_redact::{Key, Redactor, Settings};

const MEDIA: [&str; 10] = [
    "",
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "text/html",
    "application/xml",
    "text/csv",
    "text/event-stream",
    "application/graphql",
    "text/plain",
];

/// The default, `strict`, and one that looks at everything it can.
static REDACTORS: LazyLock<Vec<Redactor>> = LazyLock::new(|| {
    let all = "{bodies: {truncated: redact, files: redact, opaque: keep}, \
        rules: [{json: '$..a[*]', action: mask}, {pattern: 'a+b', action: drop}, {path: '/{a}/**', action: hash}]}";
    ["{}", "{profile: strict, bodies: {truncated: redact, files: redact}}", all]
        .iter()
        .map(|yaml| {
            let settings: Settings = serde_yaml_ng::from_str(yaml).expect("valid settings");
            let key = Key::new(b"a key for fuzzing, not for use").expect("long enough");
            Redactor::new(&settings, key).expect("valid settings")
        })
        .collect()
});

fuzz_target!(|input: &[u8]| {
    let [choice, input @ ..] = input else { return };
    let media = MEDIA[usize::from(*choice) % MEDIA.len()];
    let redactor = &REDACTORS[usize::from(*choice) / MEDIA.len() % REDACTORS.len()];
    let truncated = *choice >= 128;
    let redacted = redactor.redact(exchange(media, input, truncated));
    let body = &redacted.get().request.as_ref().expect("it had one").body.content;
    // A token is longer than what it replaces, which has a byte at least and a mark beside it.
    assert!(body.len() <= 64 * input.len() + 64, "{} of {}", body.len(), input.len());
    let was_json = serde_json::from_slice::<serde::de::IgnoredAny>(input).is_ok();
    if media == "application/json" && was_json && !truncated && !body.is_empty() {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok());
    }
    redactor.redact(redacted.get().clone());
});

fn exchange(media: &str, input: &[u8], truncated: bool) -> Exchange {
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    let head = &input[..input.len().min(512)];
    let names = ["authorization", "cookie", "set-cookie", "location", "link", "refresh", "x-note"];
    let mut headers: Headers = names.into_iter().map(|name| (name, head)).collect();
    if !media.is_empty() {
        headers.push("content-type", media);
    }
    let completeness = if truncated {
        Completeness::Truncated { bytes: 1, cause: Cause::BodyCap }
    } else {
        Completeness::Complete
    };
    Exchange {
        flow: FlowKey { tap: TapId(1), local: address, remote: address },
        cgroup: CgroupId(1),
        flow_serial: 0,
        index: 0,
        role: Role::Inbound,
        request: Some(Request {
            method: "POST".into(),
            target: head.to_vec().into(),
            version: Version::Http11,
            headers,
            body: Body { content: input.to_vec().into(), size: input.len() as u64, ..Body::default() },
            trailers: Headers::default(),
            completeness,
            span: Span::default(),
        }),
        response: None,
        wire_bytes: 0,
    }
}
