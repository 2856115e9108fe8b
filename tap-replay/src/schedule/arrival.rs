//! Arrival processes, as they are written.

use std::{fmt, str::FromStr, time::Duration};

/// Requests per second: beyond the upper bound a mistake is likelier than a purpose.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=10_000_000.0;
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

/// When requests arrive. Rates are in requests per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Arrival {
    /// At the recorded times, scaled by the speed.
    #[default]
    Recorded,
    /// With the recorded pauses, scaled block by block to this mean rate: bursts stay bursts.
    Resampled(f64),
    /// Evenly spaced.
    Constant(f64),
    /// Independent of one another: exponential pauses.
    Poisson(f64),
    /// From one rate to another, linearly; the last one then stays.
    Ramp { from: f64, to: f64, over: Duration },
    /// `base`, but `peak` from `at` for `lasting`.
    Spike { base: f64, peak: f64, at: Duration, lasting: Duration },
    /// As fast as answers come: closed loop, no intended times.
    Max,
}

/// An arrival process that can't be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArrivalError {
    #[error(
        "arrival {0:?}: must be recorded, recorded(RATE), constant(RATE), poisson(RATE), ramp(FROM,TO,DURATION), \
         spike(BASE,PEAK,AT,DURATION) or max; for example ramp(10,500,2m)"
    )]
    Form(String),
    #[error(
        "arrival: rate {0:?}: must be between {start} and {end} per second",
        start = RATES.start(),
        end = RATES.end()
    )]
    Rate(String),
    #[error("arrival: {0:?}: must be a duration, for example 90s or 2m, of at most 30 days")]
    Duration(String),
}

impl FromStr for Arrival {
    type Err = ArrivalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let form = || ArrivalError::Form(text.to_owned());
        let (name, arguments) = match text.split_once('(') {
            None => (text, Vec::new()),
            Some((name, rest)) => {
                let arguments = rest.strip_suffix(')').ok_or_else(form)?;
                (name, arguments.split(',').map(str::trim).collect())
            }
        };
        match (name, &arguments[..]) {
            ("" | "recorded", []) => Ok(Self::Recorded),
            ("max", []) => Ok(Self::Max),
            ("recorded", [mean]) => Ok(Self::Resampled(rate(mean)?)),
            ("constant", [constant]) => Ok(Self::Constant(rate(constant)?)),
            ("poisson", [mean]) => Ok(Self::Poisson(rate(mean)?)),
            ("ramp", [from, to, over]) => {
                Ok(Self::Ramp { from: rate(from)?, to: rate(to)?, over: duration(over)? })
            }
            ("spike", [base, peak, at, lasting]) => Ok(Self::Spike {
                base: rate(base)?,
                peak: rate(peak)?,
                at: duration(at)?,
                lasting: duration(lasting)?,
            }),
            _ => Err(form()),
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded => formatter.write_str("recorded"),
            Self::Max => formatter.write_str("max"),
            Self::Resampled(rate) => write!(formatter, "recorded({rate})"),
            Self::Constant(rate) => write!(formatter, "constant({rate})"),
            Self::Poisson(rate) => write!(formatter, "poisson({rate})"),
            Self::Ramp { from, to, over } => write!(formatter, "ramp({from},{to},{}s)", over.as_secs_f64()),
            Self::Spike { base, peak, at, lasting } => {
                write!(formatter, "spike({base},{peak},{}s,{}s)", at.as_secs_f64(), lasting.as_secs_f64())
            }
        }
    }
}

/// `500`, `500/s`, `30/m`, `100/h`.
fn rate(text: &str) -> Result<f64, ArrivalError> {
    let (number, seconds) = match text.split_once('/') {
        None => (text, 1.0),
        Some((number, "s")) => (number, 1.0),
        Some((number, "m")) => (number, 60.0),
        Some((number, "h")) => (number, 3_600.0),
        Some(_) => return Err(ArrivalError::Rate(text.to_owned())),
    };
    let rate = number.trim().parse::<f64>().ok().map(|number| number / seconds);
    rate.filter(|rate| RATES.contains(rate)).ok_or_else(|| ArrivalError::Rate(text.to_owned()))
}

/// A number with one of the units ms, s, m, h.
fn duration(text: &str) -> Result<Duration, ArrivalError> {
    let wrong = || ArrivalError::Duration(text.to_owned());
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.split_at(digits.ok_or_else(wrong)?);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    let number = number.parse::<f64>().map_err(|_| wrong())?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    if duration > LONGEST { Err(wrong()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_written_as_they_are_read() {
        for (text, arrival) in [
            ("recorded", Arrival::Recorded),
            ("recorded(500)", Arrival::Resampled(500.0)),
            ("constant(0.5)", Arrival::Constant(0.5)),
            ("poisson(20)", Arrival::Poisson(20.0)),
            ("ramp(10,500,120s)", Arrival::Ramp { from: 10.0, to: 500.0, over: Duration::from_secs(120) }),
            (
                "spike(1,9,0.5s,2s)",
                Arrival::Spike {
                    base: 1.0,
                    peak: 9.0,
                    at: Duration::from_millis(500),
                    lasting: Duration::from_secs(2),
                },
            ),
            ("max", Arrival::Max),
        ] {
            assert_eq!(text.parse(), Ok(arrival));
            assert_eq!(arrival.to_string(), text);
        }
        assert_eq!(" constant( 30/m ) ".parse(), Ok(Arrival::Constant(0.5)));
        assert_eq!("ramp(1,2,2m)".parse::<Arrival>().unwrap().to_string(), "ramp(1,2,120s)");
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for text in [
            "constant",
            "constant()",
            "constant(0)",
            "constant(-1)",
            "constant(NaN)",
            "constant(inf)",
            "constant(1e99)",
            "constant(5/d)",
            "constant(5",
            "max(1)",
            "ramp(1,2)",
            "ramp(1,2,3)",
            "ramp(1,2,-3s)",
            "ramp(1,2,3d)",
            "ramp(1,2,9999999h)",
            "sine(1)",
        ] {
            assert!(text.parse::<Arrival>().is_err(), "{text}");
        }
    }
}
