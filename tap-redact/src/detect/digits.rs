//! Digits in groups: `4111 1111 1111 1111`, `(212) 555-0123`.

use super::Text;

const MAX_RUNS: usize = 10;

/// More than any number has that a detector knows.
const MAX_DIGITS: usize = 24;

/// Runs of digits with separators between.
pub(super) struct Runs {
    runs: [(usize, usize); MAX_RUNS],
    count: usize,
    digits: [u8; MAX_DIGITS],
    length: usize,
}

impl Runs {
    /// Reads the runs from `start`, which is a digit, on: up to `gap` separators between two, `max` digits in all. A
    /// run that letters follow does not count.
    pub(super) fn read(text: &Text<'_>, start: usize, separators: &[u8], gap: usize, max: usize) -> Self {
        let mut group = Self { runs: [(0, 0); MAX_RUNS], count: 0, digits: [0; MAX_DIGITS], length: 0 };
        let max = max.min(MAX_DIGITS);
        let mut at = start;
        while group.count < MAX_RUNS {
            let length = text.run(at, MAX_DIGITS + 1, |byte| byte.is_ascii_digit());
            let letters = text.byte(at + length).is_some_and(|byte| byte.is_ascii_alphabetic());
            if length == 0 || letters || group.length + length > max {
                break;
            }
            for digit in &text[at..at + length] {
                group.digits[group.length] = digit - b'0';
                group.length += 1;
            }
            group.runs[group.count] = (at, length);
            group.count += 1;
            at += length;
            at += text.run(at, gap, |byte| separators.contains(&byte));
            if at == group.end() {
                break;
            }
        }
        group
    }

    /// The values of all digits.
    pub(super) fn digits(&self) -> &[u8] {
        &self.digits[..self.length]
    }

    /// The lengths of the runs.
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.runs[..self.count].iter().map(|run| run.1)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Where the last run ends.
    pub(super) fn end(&self) -> usize {
        self.count.checked_sub(1).map_or(0, |last| self.runs[last].0 + self.runs[last].1)
    }

    /// Where the run of this index begins and how long it is.
    pub(super) fn run(&self, index: usize) -> (usize, usize) {
        self.runs[..self.count].get(index).copied().unwrap_or_default()
    }

    /// Leaves the last run out; false where there is one alone.
    pub(super) fn drop_last(&mut self) -> bool {
        if self.count < 2 {
            return false;
        }
        self.count -= 1;
        self.length -= self.runs[self.count].1;
        true
    }
}
