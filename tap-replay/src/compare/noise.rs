//! Which differences are noise, by the arithmetic that Diffy published, and one test more.
//!
//! For one field of one endpoint, `raw` answers differ from what is expected, and `noise` answers differed where
//! nothing had been changed (a second instance of the same version, or a replay at the recorded version). The
//! field really differs if `raw > noise` and
//!
//! - relative: `(raw − noise) / (raw + noise) × 100` is above 20, and
//! - absolute: `(raw − noise) / answers × 100` is above 0.03.
//!
//! Few answers make chance look like a change: of a field that differs at random in one answer of a hundred,
//! 5 and 2 of 300 are as ordinary as 3 and 4, and relatively 43 % apart. So where there is noise at all, the
//! excess must also be beyond [`Thresholds::sigmas`] standard deviations of what chance gives: without a change,
//! raw and noise are draws of one distribution, and `raw − noise` varies by `√(raw + noise)`. With `sigmas: 0`
//! Diffy's arithmetic stands alone.

/// Above which a field really differs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Thresholds {
    /// In percent.
    pub(crate) relative: f64,
    /// In percent.
    pub(crate) absolute: f64,
    pub(crate) sigmas: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { relative: 20.0, absolute: 0.03, sigmas: 3.0 }
    }
}

impl Thresholds {
    /// Whether a field that `raw` of `answers` differ in, and `noise` would anyhow, really differs.
    pub(crate) fn differs(&self, raw: f64, noise: f64, answers: f64) -> bool {
        if raw <= noise || answers <= 0.0 {
            return false;
        }
        let excess = raw - noise;
        let relative = excess / (raw + noise) * 100.0;
        let absolute = excess / answers * 100.0;
        let beyond_chance = noise == 0.0 || excess > self.sigmas * (raw + noise).sqrt();
        relative > self.relative && absolute > self.absolute && beyond_chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_arithmetic() {
        let diffy = Thresholds { sigmas: 0.0, ..Thresholds::default() };
        // Relatively exactly 20 % is not above it.
        assert!(!diffy.differs(60.0, 40.0, 1_000.0));
        assert!(diffy.differs(61.0, 40.0, 1_000.0));
        // 3 of 10,000 are exactly 0.03 %.
        assert!(!diffy.differs(3.0, 0.0, 10_000.0));
        assert!(diffy.differs(4.0, 0.0, 10_000.0));
        // Less than the noise is no difference, however much less.
        assert!(!diffy.differs(10.0, 900.0, 1_000.0));
        assert!(!diffy.differs(0.0, 0.0, 0.0));
    }

    #[test]
    fn chance_is_no_change() {
        let default = Thresholds::default();
        let diffy = Thresholds { sigmas: 0.0, ..default };
        assert!(diffy.differs(5.0, 2.0, 300.0) && !default.differs(5.0, 2.0, 300.0));
        // Without noise nothing of it is chance.
        assert!(default.differs(5.0, 0.0, 300.0));
        // Half of the answers differ anyhow, and now all do.
        assert!(default.differs(500.0, 250.0, 500.0));
    }
}
