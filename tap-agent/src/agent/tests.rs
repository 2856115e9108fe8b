//! The agent from segments to a collector, without a kernel: scenarios of loss, and the ledger after each.

mod collector;
mod overload;
mod pods;
mod traffic;

use std::time::Instant;

use tap_flow::{Direction, TapId};
use tap_proto::v1;
use tokio::time::sleep;

use self::{
    collector::{Behaviour, FakeCollector},
    traffic::{Connection, FakeKernel, FakeRing, Host},
};
use super::*;
use crate::{
    amount::Amount,
    config::{Settings, TargetSettings},
    ledger::{Account, Reason, Stage},
};

/// Long enough for a machine that does other things; every wait ends when what it waits for is there.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent with one target, fed by hand.
struct Scenario {
    agent: Agent,
    kernel: FakeKernel,
    tap: TapId,
    host: Host,
}

impl Scenario {
    async fn start(collector: &str, settings: Settings) -> Self {
        let host = Host::new();
        let tap = host.cgroup("web");
        let kernel = FakeKernel::default();
        let settings = Settings {
            agent: Some("node".to_owned()),
            collector: Some(collector.to_owned()),
            targets: vec![TargetSettings {
                name: "web".to_owned(),
                cgroup: Some("/web".into()),
                ..TargetSettings::default()
            }],
            admin: crate::config::AdminSettings { listen: Some("off".to_owned()) },
            ..settings
        };
        let config = Config::new(settings, "host").unwrap();
        let source = kernel.source();
        let mut agent = start_agent(&config, &host, &kernel, source).await;
        agent.tapped().await.unwrap();
        Self { agent, kernel, tap, host }
    }

    /// `count` exchanges, ten on each connection.
    fn traffic(&self, first_port: u16, count: usize) {
        for (number, chunk) in (0..count).collect::<Vec<_>>().chunks(10).enumerate() {
            let mut connection = Connection::new(self.tap, first_port + number as u16);
            for index in chunk {
                connection.exchange(&self.kernel, &format!("/item/{first_port}/{index}"), &"x".repeat(100));
            }
        }
    }

    fn account(&self) -> Account {
        self.agent.ledger().accounts().remove(0)
    }

    async fn until(&self, what: &str, condition: impl Fn(&Account) -> bool) -> Account {
        let start = Instant::now();
        loop {
            let account = self.account();
            if condition(&account) {
                return account;
            }
            assert!(start.elapsed() < PATIENCE, "{what} did not happen: {account:#?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn start_agent(config: &Config, host: &Host, kernel: &FakeKernel, source: FakeRing) -> Agent {
    let (hierarchy, kernel) = (host.hierarchy(), kernel.clone());
    Agent::with_sources(
        config,
        LogLevel::default(),
        hierarchy,
        kernel,
        vec![source],
        PodSource::Commands,
        Found::default(),
    )
    .await
    .unwrap()
}

fn lost(account: &Account, stage: Stage, word: &'static str) -> Amount {
    account.losses.get(&Reason { stage, word }).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_seen_is_stored_and_accounted_for() {
    let collector = FakeCollector::start().await;
    let scenario = Scenario::start(&collector.url(), Settings::default()).await;
    scenario.traffic(1000, 250);
    let account = scenario.until("250 exchanges stored", |account| account.stored.exchanges == 250).await;
    assert_eq!(account.imbalance(), (0, 0));

    let ledger = scenario.agent.ledger();
    assert_eq!(scenario.agent.drain().await, Drained { unsent: 0 });

    let account = ledger.accounts().remove(0);
    assert_eq!(account.imbalance(), (0, 0));
    assert_eq!(account.pending, Amount::ZERO);
    assert_eq!(account.seen.bytes, account.stored.bytes);
    let table = collector.table();
    assert_eq!(table.exchanges.len(), 250);
    assert_eq!(table.repeated, 0);
    let last = table.ledger.unwrap();
    assert!(last.r#final);
    assert_eq!(last.targets[0].stored.unwrap().exchanges, 250);
    assert_eq!(last.targets[0].pending, Some(v1::Amount::default()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_dies_before_it_acknowledges_stores_nothing_twice() {
    let mut collector = FakeCollector::start().await;
    collector.behave(Behaviour::StoreSilently);
    let scenario = Scenario::start(&collector.url(), Settings::default()).await;
    scenario.traffic(1000, 100);
    collector.until(|table| table.exchanges.len() == 100).await;
    assert_eq!(scenario.account().stored.exchanges, 0);

    collector.kill();
    scenario.traffic(2000, 100);
    collector.behave(Behaviour::Acknowledge);
    collector.restart().await;

    scenario.until("all exchanges stored", |account| account.stored.exchanges == 200).await;
    let ledger = scenario.agent.ledger();
    assert_eq!(scenario.agent.drain().await, Drained { unsent: 0 });
    assert_eq!(ledger.accounts()[0].imbalance(), (0, 0));
    assert_eq!(collector.table().exchanges.len(), 200);
    assert_eq!(collector.table().repeated, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dying_collector_did_not_store_is_sent_again() {
    let mut collector = FakeCollector::start().await;
    collector.behave(Behaviour::Forget);
    let scenario = Scenario::start(&collector.url(), Settings::default()).await;
    scenario.traffic(1000, 100);
    collector.until(|table| table.batches_seen > 0).await;
    collector.kill();
    collector.behave(Behaviour::Acknowledge);
    collector.restart().await;

    scenario.until("all exchanges stored", |account| account.stored.exchanges == 100).await;
    scenario.agent.drain().await;
    assert_eq!(collector.table().exchanges.len(), 100);
    assert_eq!(collector.table().repeated, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_collector_is_away_the_newest_are_kept_and_the_rest_is_counted() {
    let mut collector = FakeCollector::start().await;
    collector.kill();
    let settings = Settings {
        spool: crate::config::SpoolSettings { bytes: Some("1MiB".into()) },
        ..Settings::default()
    };
    let scenario = Scenario::start(&collector.url(), settings).await;
    // Each exchange encodes to more than a hundred bytes: this is more than the spool holds.
    for round in 0..10 {
        scenario.traffic(1000 + 100 * round, 1000);
        let expected = 1000 * (u64::from(round) + 1);
        scenario.until("all assembled", |account| account.assembled.exchanges == expected).await;
    }
    let account =
        scenario.until("at rest", |account| account.seen.bytes > 0 && account.imbalance() == (0, 0)).await;
    let dropped = lost(&account, Stage::Spool, "full");
    assert!(dropped.exchanges > 0, "{account:#?}");
    assert!(account.pending.exchanges > 0, "{account:#?}");
    // A batch that is closed when all others are on their way would have to go itself.
    let spooled = scenario.agent.unsent();
    scenario.until("nothing waits for a batch", |account| account.pending.exchanges == spooled()).await;

    collector.restart().await;
    let account = scenario.until("the spool sent", |account| account.pending.exchanges == 0).await;
    assert_eq!(account.assembled.exchanges, 10_000);
    assert_eq!(account.imbalance(), (0, 0));
    let table = collector.table();
    assert_eq!(table.exchanges.len() as u64, account.stored.exchanges);
    assert_eq!(table.repeated, 0);
    // The newest came through.
    assert!(table.exchanges.values().any(|exchange| path(exchange) == "/item/1900/999"));
    assert!(!table.exchanges.values().any(|exchange| path(exchange) == "/item/1000/0"));
    scenario.agent.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_without_a_collector_ends_in_time_and_says_what_is_lost() {
    let mut collector = FakeCollector::start().await;
    collector.kill();
    let settings = Settings { drain_timeout: Some("300ms".to_owned()), ..Settings::default() };
    let scenario = Scenario::start(&collector.url(), settings).await;
    scenario.traffic(1000, 50);
    scenario.until("all assembled", |account| account.assembled.exchanges == 50).await;
    assert_eq!(scenario.agent.drain().await, Drained { unsent: 50 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retransmissions_and_other_protocols_are_named_losses() {
    let collector = FakeCollector::start().await;
    let scenario = Scenario::start(&collector.url(), Settings::default()).await;
    let mut connection = Connection::new(scenario.tap, 1000);
    connection.exchange(&scenario.kernel, "/once", "body");
    connection.retransmit(&scenario.kernel);
    let mut other = Connection::new(scenario.tap, 1001);
    other.send(
        &scenario.kernel,
        Direction::Ingress,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not HTTP at all",
    );
    let ledger = scenario.agent.ledger();
    scenario.until("the exchange stored", |account| account.stored.exchanges == 1).await;
    scenario.agent.drain().await;

    let account = ledger.accounts().remove(0);
    assert_eq!(account.imbalance(), (0, 0));
    assert_eq!(account.pending, Amount::ZERO);
    assert_eq!(lost(&account, Stage::Assembly, "duplicate").bytes, connection.last_length());
    assert_eq!(lost(&account, Stage::Assembly, "not_http").bytes, other.last_length());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_comes_back_keeps_its_account() {
    let collector = FakeCollector::start().await;
    let mut scenario = Scenario::start(&collector.url(), Settings::default()).await;
    scenario.traffic(1000, 20);
    scenario.until("stored", |account| account.stored.exchanges == 20).await;

    let again = scenario.host.replace_cgroup("web");
    assert_ne!(again, scenario.tap);
    let start = Instant::now();
    while !scenario.kernel.is_attached(again) {
        assert!(start.elapsed() < PATIENCE, "not attached again");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(!scenario.kernel.is_attached(scenario.tap));
    scenario.tap = again;
    scenario.traffic(2000, 30);
    let account = scenario.until("stored", |account| account.stored.exchanges == 50).await;
    assert_eq!(account.imbalance(), (0, 0));
    scenario.agent.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_targets_of_one_cgroup_are_refused_and_the_first_goes_on() {
    let host = Host::new();
    let tap = host.cgroup("web");
    let kernel = FakeKernel::default();
    let settings: Settings = serde_yaml_ng::from_str(
        "{targets: [{name: a, cgroup: /web}, {name: b, cgroup: /web}, {name: c, cgroup: /later}], admin: {listen: off}, \
         collector: 'http://127.0.0.1:1', drain_timeout: 1ms}",
    )
    .unwrap();
    let config = Config::new(settings, "host").unwrap();
    let mut agent = start_agent(&config, &host, &kernel, kernel.source()).await;
    let error = agent.tapped().await.unwrap_err().to_string();
    assert!(error.contains("tapped for target a already"), "{error}");
    assert!(kernel.is_attached(tap));
    let later = host.cgroup("later");
    let start = Instant::now();
    while !kernel.is_attached(later) {
        assert!(start.elapsed() < PATIENCE, "a target that came later is not attached");
        sleep(Duration::from_millis(10)).await;
    }
    agent.drain().await;
    assert!(!kernel.is_attached(tap), "detached at the end");
}

fn path(exchange: &v1::Exchange) -> &str {
    exchange.request.as_ref().map_or("", |request| &request.path)
}
