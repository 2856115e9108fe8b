//! More than there is room or time for, at each stage and at all of them: what is not stored is named, to the byte.

use super::*;
use crate::{
    budget::Cause,
    config::{BudgetSettings, LimitSettings, Quantity, RingSettings, SpoolSettings},
};

const MIB: u64 = 1 << 20;

/// Begins uploads that do not end, so that what came of them is held: some 50 KB each.
fn uploads(scenario: &Scenario, first_port: u16, count: u16) {
    let head = "POST /upload HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000\r\n\r\n";
    let upload = format!("{head}{}", "x".repeat(50_000));
    for port in first_port..first_port + count {
        Connection::new(scenario.tap, port).send(&scenario.kernel, Direction::Ingress, upload.as_bytes());
    }
}

/// A budget of so many MiB beyond the least that may be set.
fn settings(room: u64) -> Settings {
    Settings {
        rings: RingSettings { count: Some(1), bytes: Some(Quantity::Number(MIB)), ..RingSettings::default() },
        budget: BudgetSettings { memory: Some(Quantity::Number((room + 32) * MIB)), cpu: None },
        ..Settings::default()
    }
}

/// Ends the run, and demands that every byte and exchange is accounted for.
async fn balanced(scenario: Scenario) -> Account {
    let ledger = scenario.agent.ledger();
    assert_eq!(scenario.agent.drain().await, Drained { unsent: 0 });
    let account = ledger.accounts().remove(0);
    assert_eq!(account.imbalance(), (0, 0), "{account:#?}");
    assert_eq!(account.pending, Amount::ZERO);
    account
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_that_is_not_read_loses_segments_and_counts_them() {
    let collector = FakeCollector::start().await;
    let scenario = Scenario::start(&collector.url(), Settings::default()).await;
    scenario.kernel.hold_up(Some(300));
    scenario.traffic(1000, 500);
    scenario.kernel.hold_up(None);
    scenario.until("what was copied stored", |account| account.stored.exchanges >= 150).await;
    let account = balanced(scenario).await;
    let full = lost(&account, Stage::Ring, "full");
    assert_eq!(full.segments, 700);
    assert_eq!(account.seen.segments, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_past_the_limits_are_given_up_and_their_exchanges_say_so() {
    let collector = FakeCollector::start().await;
    let limits = LimitSettings {
        total_bytes: Some(Quantity::Number(MIB)),
        flows: Some(100),
        ..LimitSettings::default()
    };
    let scenario = Scenario::start(&collector.url(), Settings { limits, ..Settings::default() }).await;
    uploads(&scenario, 1000, 150);
    scenario.until("uploads given up", |account| account.stored.exchanges >= 100).await;
    let account = balanced(scenario).await;
    assert_eq!(account.stored.exchanges, 150, "each is an exchange that has its beginning");
    let is_complete = |exchange: &v1::Exchange| {
        let request = exchange.request.as_ref().unwrap();
        request.completeness.as_ref().unwrap().state() == v1::completeness::State::Complete
    };
    assert!(!collector.table().exchanges.values().any(is_complete));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_its_memory_budget_the_agent_leaves_out_connections_and_comes_back() {
    let collector = FakeCollector::start().await;
    let scenario = Scenario::start(&collector.url(), settings(20)).await;
    let start = Instant::now();
    let mut port = 1;
    // Each round is 5 MB.
    while lost(&scenario.account(), Stage::Budget, "memory").bytes == 0 {
        assert!(
            start.elapsed() < PATIENCE && port < 60_000,
            "nothing was shed: {:?}",
            scenario.agent.usage()
        );
        uploads(&scenario, port, 100);
        port += 100;
        sleep(Duration::from_millis(50)).await;
    }
    assert!(scenario.account().flows.shed > 0);

    // What was shed holds nothing any more; the rest ends with its connections.
    for closed in 1..port {
        Connection::new(scenario.tap, closed).reset(&scenario.kernel);
    }
    let start = Instant::now();
    while scenario.agent.usage().shedding.is_some() {
        assert!(start.elapsed() < PATIENCE, "it does not come back: {:?}", scenario.agent.usage());
        sleep(Duration::from_millis(50)).await;
    }
    let before = lost(&scenario.account(), Stage::Budget, "memory").bytes;
    let stored = scenario.account().stored.exchanges;
    scenario.traffic(60_100, 200);
    scenario.until("all followed again", |account| account.stored.exchanges >= stored + 200).await;
    let account = balanced(scenario).await;
    assert_eq!(lost(&account, Stage::Budget, "memory").bytes, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_its_cpu_budget_the_agent_leaves_out_connections() {
    let collector = FakeCollector::start().await;
    // The process of the tests takes more than that.
    let budget = BudgetSettings { memory: None, cpu: Some(0.01) };
    let scenario = Scenario::start(&collector.url(), Settings { budget, ..Settings::default() }).await;
    let start = Instant::now();
    let mut port = 1;
    while lost(&scenario.account(), Stage::Budget, "cpu").bytes == 0 {
        assert!(
            start.elapsed() < PATIENCE && port < 60_000,
            "nothing was shed: {:?}",
            scenario.agent.usage()
        );
        scenario.traffic(port, 100);
        port += 10;
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(scenario.agent.usage().shedding.map(|(_, cause)| cause), Some(Cause::Cpu));
    balanced(scenario).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_stage_overloaded_at_once_every_byte_is_accounted_for() {
    let mut collector = FakeCollector::start().await;
    collector.kill();
    let spool = SpoolSettings { bytes: Some("1MiB".into()) };
    let scenario = Scenario::start(&collector.url(), Settings { spool, ..settings(30) }).await;

    // The ring.
    scenario.kernel.hold_up(Some(200));
    scenario.traffic(1000, 300);
    scenario.kernel.hold_up(None);
    // The spool.
    for round in 0..10 {
        scenario.traffic(2000 + 100 * round, 1000);
    }
    scenario.until("the spool full", |account| lost(account, Stage::Spool, "full").exchanges > 0).await;
    // The budget, and reassembly meanwhile.
    let start = Instant::now();
    let mut port = 10_000;
    while lost(&scenario.account(), Stage::Budget, "memory").bytes == 0 {
        assert!(
            start.elapsed() < PATIENCE && port < 60_000,
            "nothing was shed: {:?}",
            scenario.agent.usage()
        );
        uploads(&scenario, port, 100);
        let mut other = Connection::new(scenario.tap, port + 100);
        other.send(&scenario.kernel, Direction::Ingress, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc not HTTP");
        other.retransmit(&scenario.kernel);
        port += 101;
        sleep(Duration::from_millis(50)).await;
    }

    collector.restart().await;
    let account = balanced(scenario).await;
    for (stage, word) in [
        (Stage::Ring, "full"),
        (Stage::Spool, "full"),
        (Stage::Budget, "memory"),
        (Stage::Assembly, "not_http"),
    ] {
        assert!(lost(&account, stage, word).bytes > 0, "{stage:?} {word}: {account:#?}");
    }
    let losses: u64 = account.losses.values().map(|amount| amount.bytes).sum();
    assert_eq!(account.seen.bytes, account.stored.bytes + losses);
    assert_eq!(collector.table().exchanges.len() as u64, account.stored.exchanges);
}
