use super::*;

type Time = Option<(i64, i32)>;

fn timestamps(times: &[Time]) -> Vec<Option<Timestamp>> {
    times.iter().map(|time| time.map(|(seconds, nanos)| Timestamp { seconds, nanos })).collect()
}

fn offsets(speed: f64, times: &[Time]) -> Vec<Duration> {
    let mut offsets = Vec::new();
    Schedule::new(Arrival::Recorded, speed, 1, 0).next(&timestamps(times), &mut offsets);
    offsets
}

/// The times of `count` arrivals that were recorded at once.
fn arrivals(arrival: &str, shards: u32, count: usize) -> Vec<Duration> {
    let mut schedule = Schedule::new(arrival.parse().unwrap(), 1.0, shards, 7);
    let mut times = Vec::new();
    for _ in 0..count {
        schedule.next(&[None], &mut times);
    }
    assert!(times.is_sorted(), "{arrival}");
    times
}

/// How many of `times` lie in each second.
fn per_second(times: &[Duration]) -> Vec<usize> {
    let mut counts = vec![0; times.last().map_or(0, |last| last.as_secs() as usize + 1)];
    for time in times {
        counts[time.as_secs() as usize] += 1;
    }
    counts
}

#[test]
fn pauses_are_kept_at_speed_one_and_scaled_at_others() {
    let times =
        [Some((1_700_000_000, 999_000_000)), Some((1_700_000_001, 1_000_000)), Some((1_700_000_003, 0))];
    let ms = Duration::from_millis;
    assert_eq!(offsets(1.0, &times), [ms(0), ms(2), ms(2_001)]);
    assert_eq!(offsets(2.0, &times), [ms(0), ms(1), Duration::from_micros(1_000_500)]);
    assert_eq!(offsets(0.5, &times), [ms(0), ms(4), ms(4_002)]);
}

#[test]
fn time_never_runs_backwards() {
    let times = [None, Some((10, 0)), Some((12, 0)), Some((11, 0)), None, Some((13, 0))];
    let seconds: Vec<_> = offsets(1.0, &times).iter().map(Duration::as_secs).collect();
    assert_eq!(seconds, [0, 0, 2, 2, 2, 3]);
}

#[test]
fn absurd_times_stay_addable_to_an_instant() {
    let times = [Some((i64::MIN, 0)), Some((i64::MAX, i32::MAX))];
    let latest = offsets(0.001, &times)[1];
    assert_eq!(latest, LATEST);
    assert!(std::time::Instant::now().checked_add(latest).is_some());
}

#[test]
fn a_pass_begins_one_mean_pause_after_the_last() {
    let pass = timestamps(&[Some((10, 0)), Some((11, 0)), Some((14, 0))]);
    let mut schedule = Schedule::new(Arrival::Recorded, 2.0, 1, 0);
    let mut times = Vec::new();
    for _ in 0..3 {
        schedule.next(&pass, &mut times);
        schedule.next_pass();
    }
    let ms: Vec<_> = times.iter().map(Duration::as_millis).collect();
    assert_eq!(ms, [0, 500, 2_000, 3_000, 3_500, 5_000, 6_000, 6_500, 8_000]);
}

#[test]
fn passes_over_what_took_no_time_take_some() {
    let mut schedule = Schedule::new(Arrival::Recorded, 1.0, 1, 0);
    let mut times = Vec::new();
    for _ in 0..3 {
        schedule.next(&timestamps(&[Some((5, 0))]), &mut times);
        schedule.next_pass();
    }
    assert_eq!(times.iter().map(Duration::as_secs).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn what_another_shard_sends_keeps_its_time() {
    let mut schedule = Schedule::new(Arrival::Recorded, 1.0, 2, 0);
    schedule.pass_by(Some(&Timestamp { seconds: 10, nanos: 0 }));
    let mut times = Vec::new();
    schedule.next(&timestamps(&[Some((13, 0))]), &mut times);
    assert_eq!(times, [Duration::from_secs(3)]);
}

#[test]
fn constant_arrivals_are_evenly_spaced() {
    assert_eq!(
        arrivals("constant(4)", 1, 5).iter().map(Duration::as_millis).collect::<Vec<_>>(),
        [0, 250, 500, 750, 1_000]
    );
    assert_eq!(arrivals("constant(4)", 2, 3)[2], Duration::from_secs(1));
    // No drift: the millionth is where it belongs.
    assert_eq!(arrivals("constant(1000)", 1, 1_000_001)[1_000_000], Duration::from_secs(1_000));
}

#[test]
fn a_ramp_rises_or_falls_linearly_and_then_stays() {
    let counts = per_second(&arrivals("ramp(10,110,10s)", 1, 1_000));
    for (second, &count) in counts[..counts.len() - 1].iter().enumerate() {
        let expected = if second < 10 { 15 + 10 * second } else { 110 };
        assert!(count.abs_diff(expected) <= 1, "{counts:?}");
    }
    let counts = per_second(&arrivals("ramp(100,1,10s)", 1, 520));
    assert!(counts[0] > 90 && counts[8] < 20 && counts[11] <= 2, "{counts:?}");
}

#[test]
fn a_spike_comes_and_goes() {
    let counts = per_second(&arrivals("spike(5,50,2s,3s)", 1, 180));
    assert_eq!(counts[..6], [5, 5, 50, 50, 50, 5]);
}

#[test]
fn poisson_arrivals_are_reproducible_and_as_irregular_as_they_should_be() {
    let times = arrivals("poisson(100)", 1, 20_000);
    assert_eq!(times, arrivals("poisson(100)", 1, 20_000));
    assert!((180..220).contains(&times[19_999].as_secs()), "{:?}", times[19_999]);
    let pauses: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
    let variance = pauses.iter().map(|pause| (pause - mean).powi(2)).sum::<f64>() / pauses.len() as f64;
    // An exponential distribution's deviation is its mean.
    assert!((0.9..1.1).contains(&(variance.sqrt() / mean)), "{}", variance.sqrt() / mean);
}

#[test]
fn a_resampled_recording_keeps_its_bursts_at_another_rate() {
    // Ten at once in every second, two thousand in all.
    let recorded: Vec<Time> = (0..2_000).map(|index| Some((index / 10, 0))).collect();
    let mut schedule = Schedule::new("recorded(100)".parse().unwrap(), 1.0, 1, 0);
    assert_eq!(schedule.block(), 1_000);
    let mut times = Vec::new();
    for block in timestamps(&recorded).chunks(schedule.block()) {
        schedule.next(block, &mut times);
    }
    assert!(times.is_sorted());
    // 2,000 arrivals at 100/s take 20 s.
    assert!((19_500..=20_000).contains(&times[1_999].as_millis()), "{:?}", times[1_999]);
    let bursts = times.chunk_by(|one, other| one == other).map(<[_]>::len).collect::<Vec<_>>();
    assert_eq!(bursts, [10; 200]);
}

#[test]
fn what_was_recorded_at_once_is_resampled_evenly() {
    let mut times = Vec::new();
    Schedule::new("recorded(10)".parse().unwrap(), 1.0, 1, 0).next(&[None; 10], &mut times);
    assert_eq!(times[9], Duration::from_millis(900));
}

#[test]
fn as_fast_as_answers_come_has_no_times() {
    assert_eq!(arrivals("max", 1, 3), [Duration::ZERO; 3]);
}
