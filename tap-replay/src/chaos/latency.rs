//! Distributions of added latency.

use std::{fmt, time::Duration};

use rand::{Rng, RngExt as _};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{MAX_DELAY, quantity::Span};

/// As it is written: a duration, or a distribution with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencySettings(Written);

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "distribution", rename_all = "snake_case", deny_unknown_fields)]
enum Written {
    Fixed {
        value: Span,
    },
    Uniform {
        min: Span,
        max: Span,
    },
    Normal {
        mean: Span,
        deviation: Span,
        max: Option<Span>,
    },
    Exponential {
        mean: Span,
        max: Option<Span>,
    },
    /// The two percentiles determine it.
    Pareto {
        p50: Span,
        p99: Span,
        max: Option<Span>,
    },
    /// Between the percentiles linear, from 0; above the last one that.
    Percentiles {
        p50: Option<Span>,
        p75: Option<Span>,
        p90: Option<Span>,
        p95: Option<Span>,
        p99: Option<Span>,
        p999: Option<Span>,
        max: Option<Span>,
    },
}

/// A distribution whose parameters were checked: finite, not negative. In seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Latency {
    shape: Shape,
    max: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Fixed(f64),
    Uniform {
        min: f64,
        max: f64,
    },
    Normal {
        mean: f64,
        deviation: f64,
    },
    Exponential {
        mean: f64,
    },
    Pareto {
        scale: f64,
        shape: f64,
    },
    /// Quantile and value, ascending; the first is (0, 0), the last quantile 1.
    Percentiles(Vec<(f64, f64)>),
}

impl LatencySettings {
    /// The distribution, or what is wrong with its parameters.
    pub(super) fn check(&self) -> Result<Latency, String> {
        let seconds = |Span(span): &Span| span.as_secs_f64();
        let (shape, max) = match &self.0 {
            Written::Fixed { value } => (Shape::Fixed(seconds(value)), None),
            Written::Uniform { min, max } => {
                if min > max {
                    return Err("min is above max".to_owned());
                }
                (Shape::Uniform { min: seconds(min), max: seconds(max) }, None)
            }
            Written::Normal { mean, deviation, max } => {
                (Shape::Normal { mean: seconds(mean), deviation: seconds(deviation) }, max.as_ref())
            }
            Written::Exponential { mean, max } => (Shape::Exponential { mean: seconds(mean) }, max.as_ref()),
            Written::Pareto { p50, p99, max } => {
                let (p50, p99) = (seconds(p50), seconds(p99));
                if p50 <= 0.0 || p99 <= p50 {
                    return Err("0 < p50 < p99 must hold".to_owned());
                }
                // The quantile of q is scale · (1 − q)^(−1/shape), so that p99/p50 = 50^(1/shape).
                let shape = 50_f64.ln() / (p99 / p50).ln();
                (Shape::Pareto { scale: p50 * 2_f64.powf(-1.0 / shape), shape }, max.as_ref())
            }
            Written::Percentiles { p50, p75, p90, p95, p99, p999, max } => {
                let given = [
                    (0.5, p50),
                    (0.75, p75),
                    (0.9, p90),
                    (0.95, p95),
                    (0.99, p99),
                    (0.999, p999),
                    (1.0, max),
                ];
                let mut points = vec![(0.0, 0.0)];
                points.extend(
                    given.iter().filter_map(|(quantile, span)| Some((*quantile, seconds(span.as_ref()?)))),
                );
                let [.., (last_quantile, last)] = points[..] else { return Err("no percentile".to_owned()) };
                if points.len() == 1 {
                    return Err("at least one percentile is needed".to_owned());
                }
                if points.windows(2).any(|pair| pair[0].1 > pair[1].1) {
                    return Err("a higher percentile must not be below a lower one".to_owned());
                }
                if last_quantile < 1.0 {
                    points.push((1.0, last));
                }
                (Shape::Percentiles(points), None)
            }
        };
        let max = max.map_or(MAX_DELAY.as_secs_f64(), seconds);
        if max > MAX_DELAY.as_secs_f64() {
            return Err(format!("max is above {MAX_DELAY:?}"));
        }
        Ok(Latency { shape, max })
    }
}

impl Latency {
    pub(super) fn draw(&self, random: &mut impl Rng) -> Duration {
        let mut uniform = || random.random::<f64>();
        let seconds = match &self.shape {
            Shape::Fixed(value) => *value,
            Shape::Uniform { min, max } => min + (max - min) * uniform(),
            Shape::Normal { mean, deviation } => {
                // Box and Muller's; 1 − u is never 0.
                let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
                mean + deviation * radius * (std::f64::consts::TAU * uniform()).cos()
            }
            Shape::Exponential { mean } => -mean * (1.0 - uniform()).ln(),
            Shape::Pareto { scale, shape } => scale * (1.0 - uniform()).powf(-1.0 / shape),
            Shape::Percentiles(points) => {
                let drawn = uniform();
                let above =
                    points.iter().position(|(quantile, _)| *quantile > drawn).unwrap_or(points.len() - 1);
                let ((q0, v0), (q1, v1)) = (points[above.saturating_sub(1)], points[above]);
                v0 + (v1 - v0) * (drawn - q0) / (q1 - q0)
            }
        };
        // What is not a number becomes 0.
        Duration::from_secs_f64(seconds.max(0.0).min(self.max))
    }
}

impl<'de> Deserialize<'de> for LatencySettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Written;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a duration, or a distribution with its parameters")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Written, E> {
                let value = Span::deserialize(serde::de::value::StrDeserializer::<E>::new(text))?;
                Ok(Written::Fixed { value })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                Written::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(Either).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn latency(yaml: &str) -> Result<Latency, String> {
        serde_yaml_ng::from_str::<LatencySettings>(yaml).map_err(|error| error.to_string())?.check()
    }

    /// The values at these quantiles of many draws, in milliseconds.
    fn quantiles(yaml: &str, quantiles: &[f64]) -> Vec<f64> {
        const DRAWS: usize = 50_000;
        let latency = latency(yaml).unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut drawn: Vec<f64> = (0..DRAWS).map(|_| latency.draw(&mut random).as_secs_f64() * 1e3).collect();
        drawn.sort_by(f64::total_cmp);
        quantiles.iter().map(|quantile| drawn[(quantile * DRAWS as f64) as usize]).collect()
    }

    fn close(drawn: &[f64], expected: &[f64]) {
        for (drawn, expected) in drawn.iter().zip(expected) {
            assert!((drawn - expected).abs() <= 0.05 * expected + 0.1, "{drawn} for {expected}");
        }
    }

    #[test]
    fn each_distribution_has_its_quantiles() {
        let at = [0.1, 0.5, 0.9, 0.99];
        close(&quantiles("20ms", &at), &[20.0; 4]);
        close(&quantiles("{distribution: fixed, value: 20ms}", &at), &[20.0; 4]);
        close(&quantiles("{distribution: uniform, min: 10ms, max: 20ms}", &at), &[11.0, 15.0, 19.0, 19.9]);
        close(
            &quantiles("{distribution: normal, mean: 100ms, deviation: 10ms}", &at),
            &[87.18, 100.0, 112.82, 123.26],
        );
        close(&quantiles("{distribution: exponential, mean: 100ms}", &at), &[10.54, 69.31, 230.26, 460.5]);
        close(&quantiles("{distribution: pareto, p50: 20ms, p99: 400ms}", &[0.5, 0.99]), &[20.0, 400.0]);
        close(
            &quantiles(
                "{distribution: percentiles, p50: 10ms, p90: 50ms, max: 1s}",
                &[0.25, 0.5, 0.7, 0.8, 0.95],
            ),
            &[5.0, 10.0, 30.0, 40.0, 525.0],
        );
    }

    #[test]
    fn nothing_is_above_its_maximum_or_below_zero() {
        close(&quantiles("{distribution: exponential, mean: 100ms, max: 50ms}", &[0.9]), &[50.0]);
        close(
            &quantiles("{distribution: normal, mean: 1ms, deviation: 10s, max: 2ms}", &[0.1, 0.9]),
            &[0.0, 2.0],
        );
        close(&quantiles("99999h", &[0.5]), &[600_000.0]);
    }

    #[test]
    fn wrong_parameters_are_refused() {
        for wrong in [
            "{distribution: uniform, min: 2s, max: 1s}",
            "{distribution: pareto, p50: 2s, p99: 1s}",
            "{distribution: pareto, p50: 0s, p99: 1s}",
            "{distribution: percentiles}",
            "{distribution: percentiles, p50: 2s, p90: 1s}",
            "{distribution: normal, mean: 1s}",
            "{distribution: normal, mean: 1s, deviation: 1s, sigma: 2}",
            "{distribution: normal, mean: 1s, deviation: 1s, max: 1h}",
            "{distribution: gauss}",
            "{mean: 1s}",
            "-1s",
            "5",
        ] {
            assert!(latency(wrong).is_err(), "{wrong}");
        }
    }
}
