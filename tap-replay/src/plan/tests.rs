use super::*;

fn raw() -> RawPlan {
    RawPlan { id: "r1".into(), target: "http://127.0.0.1:8080".into(), ..RawPlan::default() }
}

#[test]
fn zero_means_the_documented_default() {
    let plan = Plan::validate(raw()).unwrap();
    assert_eq!(plan.speed, 1.0);
    assert_eq!(plan.max_in_flight, 64);
    assert_eq!(plan.max_requests, None);
    assert_eq!(plan.timeout, Duration::from_secs(30));
    assert_eq!(plan.methods.iter().collect::<Vec<_>>(), ["GET", "HEAD", "OPTIONS"]);
}

#[test]
fn all_errors_are_reported_together() {
    let errors = Plan::validate(RawPlan {
        id: "a b".into(),
        target: "ftp://x".into(),
        speed: f64::NAN,
        max_in_flight: 1_000_000,
        allow_methods: vec!["POST".into(), "P ST".into(), "connect".into()],
        timeout: Some(Duration::ZERO),
        ..RawPlan::default()
    })
    .unwrap_err();
    assert_eq!(errors.len(), 7, "{errors:?}");
}

#[test]
fn a_replay_has_an_end() {
    let errors = |change: fn(&mut RawPlan)| {
        let mut raw = raw();
        change(&mut raw);
        Plan::validate(raw).unwrap_err()
    };
    assert_eq!(errors(|raw| raw.loop_forever = true), [PlanError::Endless]);
    let minute = Duration::from_secs(60);
    assert_eq!(
        errors(|raw| {
            raw.loops = 2;
            raw.loop_forever = true;
            raw.duration = Some(Duration::from_secs(60));
            raw.warm_up = Some(Duration::from_secs(60));
        }),
        [PlanError::Loops(2), PlanError::WarmUp(minute)]
    );
    assert_eq!(
        errors(|raw| raw.duration = Some(Duration::ZERO)),
        [PlanError::Duration(Duration::ZERO), PlanError::WarmUp(Duration::ZERO)]
    );
}

#[test]
fn shards_and_samples_are_checked() {
    for (sample, shards, shard) in [(1.5, 0, 0), (-0.1, 0, 0), (f64::NAN, 0, 0), (0.0, 3, 3), (0.0, 0, 1)] {
        assert!(
            Plan::validate(RawPlan { sample, shards, shard, ..raw() }).is_err(),
            "{sample} {shard}/{shards}"
        );
    }
    assert!(Plan::validate(RawPlan { sample: 0.1, shards: 3, shard: 2, ..raw() }).is_ok());
}

#[test]
fn speeds_out_of_range_are_refused() {
    for speed in [-1.0, 1e-9, 1e9, f64::INFINITY, f64::NAN] {
        assert!(Plan::validate(RawPlan { speed, ..raw() }).is_err(), "{speed}");
    }
}
