//! What a machine printed, and whether it is what it should be.

use std::{collections::BTreeMap, time::Duration};

use crate::test::Summary;

/// Requests of the machine's init: each is one exchange.
const REQUESTS: u64 = 20;

/// What happened in one machine.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) release: String,
    tests: Summary,
    /// Test programs that ended with status 0.
    passed_programs: usize,
    /// Lines of failed tests, and reasons of skipped ones.
    remarks: Vec<String>,
    ledger: Ledger,
    /// Ways to send, and whether the agent saw what was sent that way.
    self_test: BTreeMap<String, String>,
    took: Duration,
    ended: bool,
}

/// The target's account as the agent's metrics have it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ledger {
    seen: u64,
    stored: u64,
    pending: u64,
    lost: BTreeMap<String, u64>,
    exchanges: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Boot,
    Test,
    Metrics,
    Log,
}

impl Outcome {
    pub(super) fn read(text: &str, took: Duration, ended: bool) -> Self {
        let mut outcome = Self { took, ..Self::default() };
        let mut part = Part::Boot;
        for line in text.lines() {
            match line.strip_prefix("PODTAP ").and_then(|words| words.split(' ').next()) {
                Some("kernel") => outcome.release = line["PODTAP kernel ".len()..].to_owned(),
                Some("begin") => part = Part::Test,
                Some("end") => outcome.passed_programs += usize::from(line == "PODTAP end 0"),
                Some("metrics") => part = Part::Metrics,
                Some("log") => part = Part::Log,
                Some("done") => outcome.ended = ended,
                _ => match part {
                    Part::Test => outcome.read_test(line),
                    Part::Metrics => outcome.read_metric(line),
                    Part::Boot | Part::Log => {}
                },
            }
        }
        outcome
    }

    fn read_test(&mut self, line: &str) {
        self.tests += Summary::of_line(line);
        if line.contains("SKIPPED ") || line.ends_with("FAILED") {
            self.remarks.push(line.trim().to_owned());
        }
    }

    fn read_metric(&mut self, line: &str) {
        let Some((name, value)) = line.rsplit_once(' ') else { return };
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let Ok(value) = value.parse::<u64>() else { return };
        let ledger = &mut self.ledger;
        match name {
            "podtap_agent_seen_bytes_total" => ledger.seen += value,
            "podtap_agent_stored_bytes_total" => ledger.stored += value,
            "podtap_agent_pending_bytes" => ledger.pending += value,
            "podtap_agent_assembled_exchanges_total" => ledger.exchanges += value,
            "podtap_agent_lost_bytes_total" => {
                *ledger.lost.entry(label(labels, "reason").to_owned()).or_default() += value;
            }
            "podtap_agent_self_test" if value == 1 => {
                self.self_test.insert(label(labels, "path").to_owned(), label(labels, "result").to_owned());
            }
            _ => {}
        }
    }

    /// What is not as it should be.
    pub(super) fn problems(&self, programs: usize) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.ended {
            problems.push("the machine did not come to its end".to_owned());
        }
        if self.passed_programs < programs || self.tests.failed > 0 {
            let passed = self.passed_programs;
            problems.push(format!("{passed} of {programs} test programs passed; {}", self.tests));
            problems.extend(self.remarks.iter().filter(|remark| remark.ends_with("FAILED")).cloned());
        }
        let Ledger { seen, stored, pending, lost, exchanges } = &self.ledger;
        if *seen == 0 || *seen != stored + pending + lost.values().sum::<u64>() {
            problems.push(format!("the agent's ledger does not balance: {:?}", self.ledger));
        }
        if *exchanges != REQUESTS {
            problems.push(format!("{exchanges} exchanges of {REQUESTS} requests"));
        }
        if lost.get("body_cap").is_none_or(|bytes| *bytes == 0) {
            problems.push("nothing of the large bodies was left out".to_owned());
        }
        problems
    }

    /// "8 of 9 (io_uring: not_run)".
    fn coverage(&self) -> String {
        // Of redirection there is nothing to be seen where there is none.
        let ways = || self.self_test.iter().filter(|(_, result)| *result != "absent");
        let seen = ways().filter(|(_, result)| *result == "seen").count();
        let unseen: Vec<_> = ways()
            .filter(|(_, result)| *result != "seen")
            .map(|(path, result)| format!("{path}: {result}"))
            .collect();
        let unseen = if unseen.is_empty() { String::new() } else { format!(" ({})", unseen.join(", ")) };
        format!("{seen} of {}{unseen}", ways().count())
    }
}

/// A table for people, and for docs/compatibility.md.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut lines = vec![
        "| kernel | tests | skipped | seen = pending + lost, bytes | left out | self-test | seconds |"
            .to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    for outcome in outcomes {
        let Outcome { release, tests, ledger, took, .. } = outcome;
        let lost: u64 = ledger.lost.values().sum();
        let left_out = ledger.lost.get("body_cap").copied().unwrap_or_default();
        lines.push(format!(
            "| {release} | {} passed, {} failed | {} | {} = {} + {lost} | {left_out} | {} | {} |",
            tests.passed,
            tests.failed,
            tests.skipped,
            ledger.seen,
            ledger.pending,
            outcome.coverage(),
            took.as_secs(),
        ));
    }
    for outcome in outcomes {
        let skipped = outcome.remarks.iter().filter(|remark| remark.contains("SKIPPED "));
        lines.extend(skipped.map(|remark| format!("{}: {remark}", outcome.release)));
    }
    lines.join("\n")
}

/// The value of a label in `a="b",c="d"}`.
fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let value = |pair: &'a str| pair.strip_prefix(name)?.strip_prefix("=\"")?.split('"').next();
    labels.split(',').find_map(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = r#"[    0.1] noise
PODTAP kernel 5.10.0-32-cloud-amd64
PODTAP begin capture_programs
SKIPPED BIG TCP needs kernel 5.19
test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s
PODTAP end 0
PODTAP metrics
# HELP podtap_agent_seen_bytes TCP payload at the kernel hooks.
podtap_agent_seen_bytes_total{target="web"} 1000
podtap_agent_stored_bytes_total{target="web"} 0
podtap_agent_pending_bytes{target="web"} 300
podtap_agent_assembled_exchanges_total{target="web"} 20
podtap_agent_lost_bytes_total{target="web",stage="kernel",reason="body_cap"} 700
podtap_agent_self_test{path="send",result="seen"} 1
podtap_agent_self_test{path="io_uring",result="not_run"} 1
podtap_agent_self_test{path="sockmap",result="absent"} 1
PODTAP log
PODTAP done
"#;

    #[test]
    fn a_good_run_has_no_problems() {
        let outcome = Outcome::read(CONSOLE, Duration::from_secs(9), true);
        assert_eq!(outcome.problems(1), Vec::<String>::new());
        let table = table(&[outcome]);
        assert!(table.contains("| 5.10.0-32-cloud-amd64 | 9 passed, 0 failed | 1 | 1000 = 300 + 700 | 700 | 1 of 2 (io_uring: not_run) | 9 |"), "{table}");
        assert!(table.ends_with("5.10.0-32-cloud-amd64: SKIPPED BIG TCP needs kernel 5.19"), "{table}");
    }

    #[test]
    fn every_fault_is_found() {
        for (from, to) in [
            ("PODTAP end 0", "PODTAP end 101"),
            ("9 passed; 0 failed", "8 passed; 1 failed"),
            ("_pending_bytes{target=\"web\"} 300", "_pending_bytes{target=\"web\"} 299"),
            ("exchanges_total{target=\"web\"} 20", "exchanges_total{target=\"web\"} 19"),
            ("PODTAP done", "Kernel panic"),
            ("body_cap", "other"),
        ] {
            let text = CONSOLE.replace(from, to);
            assert_ne!(text, CONSOLE, "{from}");
            assert_eq!(Outcome::read(&text, Duration::ZERO, true).problems(1).len(), 1, "{from}");
        }
    }
}
