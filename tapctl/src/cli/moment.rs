//! Points in time, as they are typed.

use std::{str::FromStr, time::Duration};

use jiff::{Timestamp, civil, tz::TimeZone};

/// A point in time, as given.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment {
    Ago(Duration),
    At(Timestamp),
}

impl Moment {
    pub fn resolve(&self, now: Timestamp) -> prost_types::Timestamp {
        let timestamp = match self {
            Self::Ago(ago) => now.saturating_sub(*ago).unwrap_or(Timestamp::UNIX_EPOCH),
            Self::At(timestamp) => *timestamp,
        };
        prost_types::Timestamp { seconds: timestamp.as_second(), nanos: timestamp.subsec_nanosecond() }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        if let Ok(timestamp) = text.parse() {
            return Ok(Self::At(timestamp));
        }
        let zone = TimeZone::system();
        let today = Timestamp::now().to_zoned(zone.clone()).date();
        let date_time = text
            .parse::<civil::DateTime>()
            .or_else(|_| text.parse::<civil::Time>().map(|time| today.to_datetime(time)));
        let zoned = date_time.and_then(|date_time| date_time.to_zoned(zone));
        zoned.map(|zoned| Self::At(zoned.timestamp())).map_err(|_| {
            "not a duration (5m, 2h) nor a time (14:05, 2026-11-21T14:05, 2026-11-21T14:05:00Z)".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_durations_or_times() {
        assert_eq!("2h".parse(), Ok(Moment::Ago(Duration::from_secs(7_200))));
        let at = Moment::At("2026-11-21T14:05:00Z".parse().unwrap());
        assert_eq!("2026-11-21T14:05:00Z".parse(), Ok(at.clone()));
        assert_eq!("2026-11-21T15:05:00+01:00".parse(), Ok(at));
        assert!(matches!("2026-11-21T14:05".parse(), Ok(Moment::At(_))));
        assert!(matches!("14:05".parse(), Ok(Moment::At(_))));
        assert!("yesterday".parse::<Moment>().is_err());
    }
}
