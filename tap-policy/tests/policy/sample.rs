//! A sample is the same everywhere and for ever.

use proptest::prelude::*;
use tap_expr::share::hash;
use tap_flow::{Exchange, Role};
use tap_policy::Plan;

use crate::support::{exchange, policy};

/// Whether a sample keeps the exchange.
fn keeps(sample: &str, exchange: &Exchange) -> bool {
    let plan = Plan::new(vec![policy("p", 0, &format!("{{selector: {{}}, sample: {sample}}}"))]).unwrap();
    plan.before_redaction(exchange, None).is_ok()
}

#[test]
fn the_hash_never_changes() {
    // The beginning of `printf KEY | sha256sum`; docs/policies.md promises it.
    for (key, expected, bucket) in [
        ("10.0.0.2:40000", 0x315d_d1c0_ae1d_8704, 656_580),
        ("4bf92f3577b34da6a3ce929d0e0e4736", 0x398a_caee_65c4_e533, 392_627),
        ("session-1", 0x8409_7828_fc31_a8c8, 21_320),
    ] {
        assert_eq!(hash(key.as_bytes()), expected);
        assert_eq!(hash(key.as_bytes()) % 1_000_000, bucket);
    }
    let exchange = |role| exchange(role, 40_000, &[("x-session", "session-1")]);
    assert!(
        !keeps("{percent: 65.65}", &exchange(Role::Inbound))
            && keeps("{percent: 65.66}", &exchange(Role::Outbound))
    );
    let session = |percent| format!("{{percent: {percent}, key: header, header: x-session}}");
    assert!(
        !keeps(&session("2.132"), &exchange(Role::Inbound))
            && keeps(&session("2.1321"), &exchange(Role::Inbound))
    );
}

#[test]
fn both_ends_of_a_connection_decide_alike() {
    for port in 40_000..40_200 {
        let sample = "{percent: 50}";
        assert_eq!(
            keeps(sample, &exchange(Role::Inbound, port, &[])),
            keeps(sample, &exchange(Role::Outbound, port, &[]))
        );
    }
}

#[test]
fn a_share_is_kept() {
    for (percent, expected) in [(0, 0..=0), (10, 60..=140), (50, 430..=570), (100, 1000..=1000)] {
        let sample = format!("{{percent: {percent}}}");
        let kept =
            (0..1000).filter(|port| keeps(&sample, &exchange(Role::Inbound, 20_000 + port, &[]))).count();
        assert!(expected.contains(&kept), "{percent} %: {kept} of 1000");
    }
}

#[test]
fn a_trace_is_one_key_in_all_its_spellings() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let spellings = [
        ("traceparent", format!("00-{id}-00f067aa0ba902b7-01")),
        ("b3", format!("{id}-00f067aa0ba902b7-1")),
        ("X-B3-TraceId", id.to_uppercase()),
    ];
    for percent in [10, 30, 50, 70, 90] {
        let sample = format!("{{percent: {percent}, key: traceId}}");
        let verdicts = spellings.iter().enumerate().map(|(number, (name, value))| {
            keeps(&sample, &exchange(Role::Inbound, number as u16, &[(name, value)]))
        });
        let verdicts: Vec<_> = verdicts.collect();
        let expected = hash(id.as_bytes()) % 1_000_000 < percent * 10_000;
        assert_eq!(verdicts, [expected; 3], "{percent} %");
    }
}

#[test]
fn what_is_no_trace_id_falls_back_to_the_connection() {
    let zeros = "0".repeat(32);
    for headers in
        [vec![], vec![("traceparent", "garbage")], vec![("x-b3-traceid", zeros.as_str())], vec![("b3", "0")]]
    {
        for port in 0..50 {
            assert_eq!(
                keeps("{percent: 50, key: traceId}", &exchange(Role::Inbound, port, &headers)),
                keeps("{percent: 50}", &exchange(Role::Inbound, port, &[])),
            );
        }
    }
    let mut response_only = exchange(Role::Inbound, 7, &[("x-session", "a")]);
    response_only.request = None;
    assert_eq!(
        keeps("{percent: 50, key: header, header: x-session}", &response_only),
        keeps("{percent: 50}", &exchange(Role::Inbound, 7, &[])),
    );
}

proptest! {
    #[test]
    fn a_larger_share_keeps_what_a_smaller_one_keeps(
        session in "[a-z0-9]{1,20}", port in 1..u16::MAX, low in 0.0..100.0_f64, more in 0.0..100.0_f64
    ) {
        let high = (low + more).min(100.0);
        let exchange = exchange(Role::Inbound, port, &[("X-Session", &session)]);
        let sample = |percent: f64| format!("{{percent: {percent:.4}, key: header, header: x-session}}");
        if keeps(&sample(low), &exchange) {
            prop_assert!(keeps(&sample(high), &exchange));
        }
    }

    #[test]
    fn a_session_is_kept_whole(session in "[ -~]{1,40}", ports in prop::collection::vec(1..u16::MAX, 2..10)) {
        let session = session.trim();
        prop_assume!(!session.is_empty());
        let verdicts: Vec<_> = ports
            .iter()
            .map(|port| keeps("{percent: 50, key: header, header: x-session}", &exchange(Role::Inbound, *port, &[("X-Session", session)])))
            .collect();
        prop_assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]));
    }
}
