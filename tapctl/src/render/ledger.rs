//! The ledgers of all agents as tables, and whether they balance.
//!
//! For each target, at rest: `seen.bytes = stored + pending + Σ losses` in bytes, and
//! `assembled.exchanges = stored + pending + Σ losses` in exchanges. For each agent: what it was told is stored
//! is what the table holds.

use comfy_table::{Cell, Color, Table};
use tap_proto::v1::{AgentLedger, Amount, Ledger, Loss, TargetLedger};

use super::{GAP, Style, escape, lines, pad, right, unit};

/// The ledgers as tables: one of the targets, one of the losses, and a line for each agent.
pub(crate) fn render(agents: &[AgentLedger], style: &Style) -> String {
    let mut text = lines(&padded(targets(agents, style)));
    let losses = losses(agents, style);
    if losses.row_count() > 0 {
        text.push('\n');
        text.push_str(&lines(&padded(losses)));
    }
    text.push('\n');
    for agent in agents {
        text.push_str(&agent_line(agent, style));
    }
    text
}

/// Whether everything adds up, for all agents; what the table holds, where that is known.
pub(crate) fn balances(agents: &[AgentLedger]) -> bool {
    agents.iter().all(|agent| {
        let targets = agent.ledger.as_ref().map_or(&[][..], |ledger| &ledger.targets);
        targets.iter().all(|target| Balance::of(target).is_even())
            && table_difference(agent).is_none_or(|difference| difference == Difference::NONE)
    })
}

/// What is left of what was seen when all that is accounted for is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Balance {
    bytes: i128,
    exchanges: i128,
}

impl Balance {
    fn of(target: &TargetLedger) -> Self {
        let TargetLedger { target: _, seen, assembled, stored, pending, losses, policies: _, coverage: _ } =
            target;
        let amounts = [stored, pending].into_iter().chain(losses.iter().map(|loss| &loss.amount));
        let mut balance =
            Self { bytes: i128::from(bytes(seen)), exchanges: i128::from(exchanges(assembled)) };
        for amount in amounts {
            balance.bytes -= i128::from(bytes(amount));
            balance.exchanges -= i128::from(exchanges(amount));
        }
        balance
    }

    fn is_even(self) -> bool {
        self == Self { bytes: 0, exchanges: 0 }
    }

    fn describe(self) -> String {
        let part = |amount: i128, unit: &str| match amount {
            0 => None,
            1.. => Some(format!("{amount} {unit} unaccounted for")),
            ..0 => Some(format!("{} {unit} counted twice", -amount)),
        };
        let parts: Vec<_> =
            [part(self.bytes, "bytes"), part(self.exchanges, "exchanges")].into_iter().flatten().collect();
        if parts.is_empty() { "balanced".to_owned() } else { parts.join(", ") }
    }
}

/// How much more the table holds, or has held until it expired, than the agent was told is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Difference {
    exchanges: i128,
    bytes: i128,
}

impl Difference {
    const NONE: Self = Self { exchanges: 0, bytes: 0 };
}

/// `None` where it is not known what the table holds.
fn table_difference(agent: &AgentLedger) -> Option<Difference> {
    agent.in_table?;
    let targets = agent.ledger.as_ref().map_or(&[][..], |ledger| &ledger.targets);
    let mut difference = Difference {
        exchanges: i128::from(exchanges(&agent.in_table)) + i128::from(exchanges(&agent.expired)),
        bytes: i128::from(bytes(&agent.in_table)) + i128::from(bytes(&agent.expired)),
    };
    for target in targets {
        difference.exchanges -= i128::from(exchanges(&target.stored));
        difference.bytes -= i128::from(bytes(&target.stored));
    }
    Some(difference)
}

fn targets(agents: &[AgentLedger], style: &Style) -> Table {
    let mut table = style.table();
    table.set_header([
        "AGENT",
        "TARGET",
        "SEEN",
        "EXCHANGES",
        "STORED",
        "PENDING",
        "LOST",
        "BYTES LOST",
        "BALANCE",
    ]);
    for (ledger, target) in each_target(agents) {
        let lost = |amount: fn(&Option<Amount>) -> u64| -> u64 {
            target.losses.iter().map(|loss| amount(&loss.amount)).sum()
        };
        let balance = Balance::of(target);
        let verdict = Cell::new(balance.describe());
        table.add_row([
            Cell::new(escape::text(&ledger.agent)),
            Cell::new(escape::text(&target.target)),
            right(unit::bytes(bytes(&target.seen))),
            right(unit::count(exchanges(&target.assembled))),
            right(unit::count(exchanges(&target.stored))),
            right(unit::count(exchanges(&target.pending))),
            right(unit::count(lost(exchanges))),
            right(unit::bytes(lost(bytes))),
            if balance.is_even() { verdict } else { verdict.fg(Color::Red) },
        ]);
    }
    table
}

fn losses(agents: &[AgentLedger], style: &Style) -> Table {
    let mut table = style.table();
    table.set_header(["AGENT", "TARGET", "LOST IN", "REASON", "EXCHANGES", "BYTES", "SEGMENTS"]);
    for (ledger, target) in each_target(agents) {
        for Loss { stage, reason, amount } in &target.losses {
            let segments = amount.as_ref().map_or(0, |amount| amount.segments);
            table.add_row([
                Cell::new(escape::text(&ledger.agent)),
                Cell::new(escape::text(&target.target)),
                Cell::new(escape::text(stage)),
                Cell::new(escape::text(reason)),
                right(unit::count(exchanges(amount))),
                right(unit::count(bytes(amount))),
                right(unit::count(segments)),
            ]);
        }
    }
    table
}

fn agent_line(agent: &AgentLedger, style: &Style) -> String {
    let Some(ledger) = &agent.ledger else { return String::new() };
    let table = match table_difference(agent) {
        None => "the table is accounted for by agent, not by namespace".to_owned(),
        Some(Difference::NONE) => {
            let held = unit::count(exchanges(&agent.in_table));
            match exchanges(&agent.expired) {
                0 => format!("the table holds what was acknowledged: {held} exchanges"),
                expired => format!(
                    "the table holds what was acknowledged: {held} exchanges, and {} expired",
                    unit::count(expired)
                ),
            }
        }
        Some(Difference { exchanges, bytes }) => {
            format!(
                "the table holds {exchanges:+} exchanges and {bytes:+} bytes against what was acknowledged"
            )
        }
    };
    format!(
        "agent {} (epoch {:016x}), ledger of {}{}: {table}\n",
        escape::text(&ledger.agent),
        ledger.epoch,
        style.time(ledger.time.as_ref(), true),
        if ledger.r#final { ", final" } else { "" },
    )
}

/// Every target with the ledger in which it is.
pub(super) fn each_target(agents: &[AgentLedger]) -> impl Iterator<Item = (&Ledger, &TargetLedger)> {
    agents
        .iter()
        .filter_map(|agent| agent.ledger.as_ref())
        .flat_map(|ledger| ledger.targets.iter().map(move |target| (ledger, target)))
}

fn padded(mut table: Table) -> Table {
    pad(&mut table, GAP);
    table
}

fn bytes(amount: &Option<Amount>) -> u64 {
    amount.as_ref().map_or(0, |amount| amount.bytes)
}

fn exchanges(amount: &Option<Amount>) -> u64 {
    amount.as_ref().map_or(0, |amount| amount.exchanges)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn amount(exchanges: u64, bytes: u64) -> Option<Amount> {
        Some(Amount { exchanges, bytes, segments: 0 })
    }

    fn agent() -> AgentLedger {
        AgentLedger {
            ledger: Some(Ledger {
                agent: "node-1".into(),
                epoch: 1,
                time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
                r#final: true,
                targets: vec![TargetLedger {
                    target: "nginx".into(),
                    seen: amount(0, 10_000),
                    assembled: amount(12, 0),
                    stored: amount(10, 8_000),
                    pending: amount(1, 500),
                    losses: vec![
                        Loss { stage: "ring".into(), reason: "full".into(), amount: amount(0, 1_000) },
                        Loss { stage: "spool".into(), reason: "full".into(), amount: amount(1, 500) },
                    ],
                    ..TargetLedger::default()
                }],
                ..Ledger::default()
            }),
            in_table: amount(10, 8_000),
            expired: None,
        }
    }

    #[test]
    fn a_balanced_ledger_says_so() {
        let style = Style { width: Some(120), colour: false, zone: TimeZone::UTC };
        assert!(balances(&[agent()]));
        assert_eq!(
            render(&[agent()], &style),
            "\
AGENT   TARGET  SEEN      EXCHANGES  STORED  PENDING  LOST  BYTES LOST  BALANCE
node-1  nginx   9.77 KiB         12      10        1     1    1.46 KiB  balanced

AGENT   TARGET  LOST IN  REASON  EXCHANGES  BYTES  SEGMENTS
node-1  nginx   ring     full            0  1,000         0
node-1  nginx   spool    full            1    500         0

agent node-1 (epoch 0000000000000001), ledger of 11-14 22:13:20.000, final: the table holds what was acknowledged: 10 exchanges
"
        );
    }

    #[test]
    fn every_imbalance_is_found() {
        let change = |change: fn(&mut TargetLedger)| {
            let mut agent = agent();
            change(&mut agent.ledger.as_mut().unwrap().targets[0]);
            let balance = Balance::of(&agent.ledger.as_ref().unwrap().targets[0]).describe();
            (balances(&[agent]), balance)
        };
        let missing = change(|target| target.seen = amount(0, 10_001));
        assert_eq!(missing, (false, "1 bytes unaccounted for".into()));
        let twice = change(|target| target.assembled = amount(10, 0));
        assert_eq!(twice, (false, "2 exchanges counted twice".into()));

        let mut table = agent();
        table.in_table = amount(9, 8_000);
        assert!(!balances(&[table.clone()]));
        let style = Style { width: None, colour: false, zone: TimeZone::UTC };
        assert!(render(&[table.clone()], &style).contains("holds -1 exchanges and +0 bytes"));

        table.expired = amount(1, 0);
        assert!(balances(&[table.clone()]));
        assert!(render(&[table], &style).contains("acknowledged: 9 exchanges, and 1 expired"));
    }
}
