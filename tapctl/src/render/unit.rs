//! Numbers with units, short enough for a column.

/// A length in bytes, with three significant digits: "812 B", "1.38 KiB".
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1_024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

/// A duration, with three significant digits: "85 µs", "1.2 ms", "3.45 s".
pub(crate) fn microseconds(microseconds: u64) -> String {
    scaled(microseconds as f64, 1_000.0, &["µs", "ms", "s", "ks", "Ms", "Gs", "Ts"])
}

/// A duration of the protocol; a negative one as zero.
pub(crate) fn duration(duration: &prost_types::Duration) -> String {
    let duration = std::time::Duration::try_from(*duration).unwrap_or_default();
    microseconds(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// A number with its thousands set apart: "12,345".
pub(crate) fn count(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    let first = unit;
    // 999.5 would be printed as "1000".
    while value >= step.min(999.5) {
        let Some(next) = units.next() else { break };
        value /= step;
        unit = next;
    }
    let decimals = if unit == first || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let lengths = [0, 999, 1_000, 1_024, 1_413, 10_240, 102_400, 1_048_575, u64::MAX];
        assert_eq!(
            lengths.map(bytes),
            [
                "0 B", "999 B", "0.98 KiB", "1.00 KiB", "1.38 KiB", "10.0 KiB", "100 KiB", "1.00 MiB",
                "16.0 EiB"
            ]
        );
        let durations = [0, 85, 999, 1_200, 99_960, 999_499, 999_600, 3_450_000];
        assert_eq!(
            durations.map(microseconds),
            ["0 µs", "85 µs", "999 µs", "1.20 ms", "100 ms", "999 ms", "1.00 s", "3.45 s"]
        );
    }
}
