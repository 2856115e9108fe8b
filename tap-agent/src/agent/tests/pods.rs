//! Pods as targets: what policies keep, changes while a pod is tapped, and the end of its account.

use std::sync::Arc;

use serde_json::json;
use tap_policy::{Plan, Policy, TapPolicy};

use super::*;
use crate::{
    config::{KubernetesSettings, PortFilter, Selector},
    registry::{CapturePlan, Container, Details, RouteId},
    taps::{Command, TargetId, Wanted},
};

const UID: &str = "2b5ed1d0-6c1a-4b3e-9f10-0123456789ab";
const LATER: u64 = 3_600_000_000_000;

struct Node {
    agent: Agent,
    kernel: FakeKernel,
    tap: TapId,
    host: Host,
}

impl Node {
    /// An agent that knows of the cgroup of one pod.
    async fn start(collector: &str, others: &[String]) -> Self {
        let host = Host::new();
        let path = format!("kubepods/pod{UID}");
        let tap = host.cgroup(&path);
        let kernel = FakeKernel::default();
        let settings = Settings {
            agent: Some("node".to_owned()),
            collector: Some(collector.to_owned()),
            targets: vec![TargetSettings {
                name: "idle".to_owned(),
                cgroup: Some("/idle".into()),
                ..TargetSettings::default()
            }],
            admin: crate::config::AdminSettings { listen: Some("off".to_owned()) },
            ..Settings::default()
        };
        let mut config = Config::new(settings, "host").unwrap();
        let kubernetes = KubernetesSettings {
            node: Some("node".to_owned()),
            collectors: others.to_vec(),
            ..KubernetesSettings::default()
        };
        let with_pods = Settings { kubernetes, ..Settings::default() };
        config.kubernetes = Config::new(with_pods, "host").unwrap().kubernetes;
        let source = kernel.source();
        let agent = start_agent(&config, &host, &kernel, source).await;
        let node = Self { agent, kernel, tap, host };
        node.tell(Command::PodCgroup { pod: UID.into(), path: node.host.path(&path) });
        node
    }

    fn tell(&self, command: Command) {
        self.agent.taps.as_ref().unwrap().commands.send(command).unwrap();
    }

    /// The pod is wanted with these policies.
    fn want(&self, specs: &[serde_json::Value], route: usize) {
        let policies = specs.iter().enumerate().map(|(number, spec)| {
            let metadata =
                serde_json::from_value(json!({"name": format!("p{number}"), "namespace": "shop"})).unwrap();
            Arc::new(Policy::compile(&TapPolicy::read(metadata, spec).unwrap()).unwrap())
        });
        let plan = Plan::new(policies.collect()).unwrap();
        self.tell(Command::Put(Box::new(Wanted {
            id: TargetId::Pod(UID.into()),
            name: "shop/cart-1".to_owned(),
            selector: Selector::Pod(UID.into()),
            ports: PortFilter::All,
            route: RouteId(route),
            containers: vec![Container { name: "app".into(), id: "aaaa".to_owned() }],
            details: Details {
                namespace: "shop".to_owned(),
                pod: "cart-1".to_owned(),
                pod_uid: UID.to_owned(),
                workload: "Deployment/cart".to_owned(),
                policies: plan.policies().iter().map(|policy| policy.full_name()).collect(),
                plan: Some(Arc::new(CapturePlan { plan, redactor: None })),
                ..Details::default()
            },
        })));
    }

    fn traffic(&self, first_port: u16, count: usize) {
        for (number, chunk) in (0..count).collect::<Vec<_>>().chunks(10).enumerate() {
            let mut connection = Connection::new(self.tap, first_port + number as u16);
            for index in chunk {
                connection.exchange(&self.kernel, &format!("/item/{index}"), &"x".repeat(100));
            }
        }
    }

    async fn attached(&self, is: bool) {
        let start = Instant::now();
        while self.kernel.is_attached(self.tap) != is {
            assert!(start.elapsed() < PATIENCE, "attached: {}", !is);
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn account(&self, name: &str) -> Option<Account> {
        self.agent.ledger().accounts().into_iter().find(|account| account.name == name)
    }

    async fn until(&self, name: &str, condition: impl Fn(&Account) -> bool) -> Account {
        let start = Instant::now();
        loop {
            let account = self.account(name);
            if let Some(account) = account.as_ref().filter(|account| condition(account)) {
                return account.clone();
            }
            assert!(start.elapsed() < PATIENCE, "{name}: {:#?}", self.agent.ledger().accounts());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_exchanges_are_attributed_and_what_no_policy_keeps_is_counted() {
    let collector = FakeCollector::start().await;
    let node = Node::start(&collector.url(), &[]).await;
    node.want(
        &[json!({"selector": {}, "filter": "request.path == '/item/3'", "body": {"capture": "metadata"}})],
        0,
    );
    node.attached(true).await;
    node.traffic(1000, 10);
    let account = node.until("shop/cart-1", |account| account.stored.exchanges == 1).await;
    assert_eq!(account.imbalance(), (0, 0));
    assert_eq!(lost(&account, Stage::Policy, "filter").exchanges, 9);
    assert_eq!(account.policies, ["shop/p0"]);
    let table = collector.table();
    let exchange = table.exchanges.values().next().unwrap();
    assert_eq!((exchange.target.as_str(), exchange.namespace.as_str()), ("shop/cart-1", "shop"));
    assert_eq!((exchange.pod.as_str(), exchange.container.as_str()), ("cart-1", "app"));
    assert_eq!((exchange.workload.as_str(), exchange.pod_uid.as_str()), ("Deployment/cart", UID));
    let body = exchange.response.as_ref().unwrap().body.as_ref().unwrap();
    assert_eq!((&body.content, body.size, body.dropped.as_str()), (&None, 100, "policy"));
    node.agent.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_policy_holds_for_the_next_exchange_and_no_connection_is_lost() {
    let collector = FakeCollector::start().await;
    let node = Node::start(&collector.url(), &[]).await;
    node.want(&[json!({"selector": {}, "direction": "outbound"})], 0);
    node.attached(true).await;
    let mut connection = Connection::new(node.tap, 1000);
    connection.exchange(&node.kernel, "/before", "a");
    node.until("shop/cart-1", |account| lost(account, Stage::Policy, "direction").exchanges == 1).await;
    node.want(&[json!({"selector": {}, "ports": [80]})], 0);
    // Every exchange is lost for the old reason until the change has come through, and none after it.
    let mut sent = 1;
    let account = loop {
        connection.exchange(&node.kernel, "/after", "b");
        sent += 1;
        let account = node.until("shop/cart-1", |account| account.assembled.exchanges == sent).await;
        if lost(&account, Stage::Policy, "direction").exchanges < sent {
            break node.until("shop/cart-1", |account| account.stored.exchanges > 0).await;
        }
        assert!(sent < 10_000);
    };
    assert_eq!(account.flows.all, 1, "the connection was followed through the change");
    assert_eq!(account.imbalance(), (0, 0));
    assert_eq!(node.kernel.attachments(), 1, "attached once");
    node.agent.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_ends_is_folded_and_its_totals_stay() {
    let mut collector = FakeCollector::start().await;
    let node = Node::start(&collector.url(), &[]).await;
    let ledger = node.agent.ledger();
    node.want(&[json!({"selector": {}})], 0);
    node.attached(true).await;
    node.traffic(1000, 20);
    node.until("shop/cart-1", |account| account.stored.exchanges == 20).await;
    // What is still on the way when the pod ends is not forgotten either.
    collector.kill();
    node.traffic(2000, 20);
    node.until("shop/cart-1", |account| account.assembled.exchanges == 40).await;
    node.tell(Command::Remove(TargetId::Pod(UID.into())));
    node.attached(false).await;
    let start = Instant::now();
    while node.account("shop/cart-1").is_some() {
        assert!(start.elapsed() < PATIENCE, "{:#?}", ledger.accounts());
        sleep(Duration::from_millis(50)).await;
        ledger.fold_ended(boottime() + LATER);
    }
    let account = node.account("shop/(ended: p0)").unwrap();
    assert_eq!((account.assembled.exchanges, account.stored.exchanges), (40, 20));
    assert_eq!(account.pending.exchanges, 20);
    assert_eq!(account.imbalance(), (0, 0));
    collector.restart().await;
    let account = node.until("shop/(ended: p0)", |account| account.stored.exchanges == 40).await;
    assert_eq!(account.imbalance(), (0, 0));

    // The pod is selected again: a new account, under the same tap.
    node.want(&[json!({"selector": {}})], 0);
    node.attached(true).await;
    node.traffic(3000, 10);
    let account = node.until("shop/cart-1", |account| account.stored.exchanges == 10).await;
    assert_eq!(account.imbalance(), (0, 0));
    node.agent.drain().await;
    assert!(ledger.accounts().iter().all(|account| account.imbalance() == (0, 0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_selected_again_soon_keeps_its_account() {
    let collector = FakeCollector::start().await;
    let node = Node::start(&collector.url(), &[]).await;
    for round in 1..=3 {
        node.want(&[json!({"selector": {}})], 0);
        node.attached(true).await;
        node.traffic(1000 * round, 10);
        node.until("shop/cart-1", |account| account.stored.exchanges == 10 * u64::from(round)).await;
        node.tell(Command::Remove(TargetId::Pod(UID.into())));
        node.attached(false).await;
    }
    assert_eq!(node.agent.ledger().accounts().len(), 2);
    node.agent.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_collector_gets_what_a_policy_sends_there_with_an_account_of_its_own() {
    let (own, other) = (FakeCollector::start().await, FakeCollector::start().await);
    let node = Node::start(&own.url(), &[other.url()]).await;
    node.want(&[json!({"selector": {}})], 0);
    node.attached(true).await;
    node.traffic(1000, 10);
    node.until("shop/cart-1", |account| account.stored.exchanges == 10).await;

    node.want(&[json!({"selector": {}})], 1);
    let start = Instant::now();
    while node.kernel.attachments() < 2 || !node.kernel.is_attached(node.tap) {
        assert!(start.elapsed() < PATIENCE, "not attached for the other collector");
        sleep(Duration::from_millis(10)).await;
    }
    node.traffic(2000, 20);
    node.until("shop/cart-1", |account| account.stored.exchanges == 20).await;
    let ledger = node.agent.ledger();
    node.agent.drain().await;
    assert!(ledger.accounts().iter().all(|account| account.imbalance() == (0, 0)));
    let (own, other) = (own.table(), other.table());
    assert_eq!((own.exchanges.len(), other.exchanges.len()), (10, 20));
    let targets =
        |ledger: &v1::Ledger| ledger.targets.iter().map(|target| target.target.clone()).collect::<Vec<_>>();
    assert_eq!(targets(&other.ledger.unwrap()), ["shop/cart-1"]);
    assert_eq!(targets(&own.ledger.unwrap()), ["idle", "shop/(ended: p0)"]);
}
