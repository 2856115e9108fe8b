//! One field of an endpoint's answers.

use tap_proto::v1::DifferenceExample;

use super::MAX_EXAMPLES;
use crate::compare::difference::{Difference, Kind};

/// Pairs of numbers before a field can count as a counter.
const MIN_NUMBERS: u64 = 20;
/// Correlation with the order of answers above which numbers rise with it.
const MIN_CORRELATION: f64 = 0.95;

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Answers that differ here.
    pub(super) raw: u64,
    /// Answers of an unchanged server that do.
    pub(super) noise: u64,
    pub(super) kinds: [u64; Kind::ALL.len()],
    pub(super) examples: Vec<DifferenceExample>,
    /// Differences that were two numbers.
    numbers: u64,
    expected: Trend,
    answered: Trend,
}

/// How numbers go with the order of answers: sums for their correlation.
#[derive(Clone, Copy, Debug, Default)]
struct Trend {
    first: Option<(f64, f64)>,
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Field {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            raw: 0,
            noise: 0,
            kinds: [0; Kind::ALL.len()],
            examples: Vec::new(),
            numbers: 0,
            expected: Trend::default(),
            answered: Trend::default(),
        }
    }

    /// A difference of the answer with this number.
    pub(super) fn add(&mut self, difference: &Difference, exchange_id: &str, sequence: u64) {
        self.raw += 1;
        self.kinds[difference.kind as usize] += 1;
        if let Some((expected, answered)) = difference.numbers {
            self.numbers += 1;
            self.expected.add(sequence as f64, expected);
            self.answered.add(sequence as f64, answered);
        }
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(DifferenceExample {
                exchange_id: exchange_id.to_owned(),
                kind: difference.kind.as_str().to_owned(),
                expected: difference.expected.clone(),
                answered: difference.answered.clone(),
            });
        }
    }

    /// Whether nearly all of `answered` answers differ here, and all by numbers that rise with time on both sides.
    pub(super) fn is_counter(&self, answered: u64) -> bool {
        self.numbers >= MIN_NUMBERS
            && self.numbers == self.raw
            // A counter is another one nearly every time.
            && self.numbers >= answered - answered / 10
            && self.expected.correlation() >= MIN_CORRELATION
            && self.answered.correlation() >= MIN_CORRELATION
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.raw += other.raw;
        self.noise += other.noise;
        for (sum, count) in self.kinds.iter_mut().zip(other.kinds) {
            *sum += count;
        }
        let room = MAX_EXAMPLES - self.examples.len();
        self.examples.extend(other.examples.into_iter().take(room));
        // Each counted by itself: the larger part is judged.
        if other.numbers > self.numbers {
            (self.expected, self.answered) = (other.expected, other.answered);
        }
        self.numbers += other.numbers;
    }
}

impl Trend {
    fn add(&mut self, x: f64, y: f64) {
        // From the first: sums of squares of large numbers would lose their digits.
        let (first_x, first_y) = *self.first.get_or_insert((x, y));
        let (x, y) = (x - first_x, y - first_y);
        self.count += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    /// Pearson's; 0 where it is not defined.
    fn correlation(&self) -> f64 {
        let Self { first: _, count, x, y, xx, yy, xy } = self;
        let spread = (count * xx - x * x) * (count * yy - y * y);
        if spread > 0.0 { (count * xy - x * y) / spread.sqrt() } else { 0.0 }
    }
}
