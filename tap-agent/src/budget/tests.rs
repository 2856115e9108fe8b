use std::net::SocketAddr;

use tap_flow::TapId;

use super::*;
use crate::registry::{Details, RouteId};

const MIB: u64 = 1 << 20;

fn key(client: u16) -> FlowKey {
    FlowKey {
        tap: TapId(1),
        local: SocketAddr::from(([10, 0, 0, 1], 80)),
        remote: SocketAddr::from(([10, 0, 0, 2], client)),
    }
}

struct Agent {
    registry: Arc<Registry>,
    ring: Arc<RingProgress>,
    shedding: Arc<Shedding>,
    monitor: Monitor,
}

impl Agent {
    fn new(budget: Budget, targets: usize) -> Self {
        let (registry, ring) = (Arc::new(Registry::default()), Arc::new(RingProgress::default()));
        for number in 0..targets {
            registry.add_target(&format!("target-{number}"), RouteId(0), Details::default());
        }
        let shedding = Arc::new(Shedding::default());
        let monitor = Monitor::new(
            budget,
            0,
            16 * MIB,
            Arc::clone(&registry),
            vec![Arc::clone(&ring)],
            vec![Arc::new(Spool::new(1 << 20))],
            Arc::clone(&shedding),
        );
        Self { registry, ring, shedding, monitor }
    }

    fn look(&mut self, flows: u64, cpu: f64) -> Usage {
        self.ring.lock().memory = flows as usize;
        self.monitor.look(cpu);
        *self.monitor.usage().borrow()
    }

    /// The share that each target leaves out, in the order of the configuration.
    fn shares(&self) -> Vec<f64> {
        let targets = self.registry.targets();
        targets.iter().map(|(target, _)| target.shed().below as f64 / HASHES as f64).collect()
    }
}

#[test]
fn without_a_budget_nothing_is_left_out() {
    let mut agent = Agent::new(Budget::default(), 2);
    let usage = agent.look(1 << 40, 64.0);
    assert_eq!((usage.shedding, agent.shares()), (None, vec![0.0, 0.0]));
    assert_eq!(agent.shedding.raised(), 0);
}

#[test]
fn memory_past_eighty_percent_sheds_the_last_target_first_and_comes_back() {
    let mut agent = Agent::new(Budget { memory: Some(100 * MIB), cpu: None }, 2);
    assert_eq!(agent.look(60 * MIB, 9.0).shedding, None);
    let usage = agent.look(66 * MIB, 9.0);
    assert_eq!(usage.memory.total(), 82 * MIB);
    assert_eq!(usage.shedding.map(|(_, cause)| cause), Some(Cause::Memory));
    let shares = agent.shares();
    assert!(shares[0] == 0.0 && shares[1] > 0.0, "{shares:?}");
    assert_eq!(agent.shedding.raised(), 1, "connections that are open are to be let go");
    for _ in 0..40 {
        agent.look(90 * MIB, 0.0);
    }
    assert_eq!(agent.shares(), [1.0, 1.0]);
    let raised = agent.shedding.raised();
    for _ in 0..20 {
        agent.look(10 * MIB, 0.0);
    }
    assert_eq!(agent.shares(), [0.0, 0.0]);
    assert_eq!(agent.shedding.raised(), raised, "coming back lets nothing go");
}

#[test]
fn time_past_the_budget_is_another_reason() {
    let mut agent = Agent::new(Budget { memory: None, cpu: Some(0.5) }, 1);
    agent.look(0, 0.6);
    let shed = agent.registry.targets()[0].0.shed();
    let reasons: Vec<_> = (1..2000).filter_map(|port| shed.reason(&key(port))).collect();
    assert!(reasons.iter().all(|reason| *reason == Reason::ShedForCpu));
    // 1 - 0.75 / 1.2 of all.
    assert!((600..900).contains(&reasons.len()), "{}", reasons.len());
}

#[test]
fn both_ends_of_a_connection_decide_alike_and_more_is_a_superset() {
    let (some, more) = (Shed::new(0.3, Cause::Memory), Shed::new(0.6, Cause::Memory));
    for port in 1..2000 {
        let key = key(port);
        let mapped = |address: SocketAddr| match address {
            SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
            v6 => v6,
        };
        let other = FlowKey { tap: TapId(2), local: mapped(key.remote), remote: mapped(key.local) };
        assert_eq!(some.reason(&key), some.reason(&other));
        assert!(some.reason(&key).is_none() || more.reason(&key).is_some());
    }
    let kept = (1..2000).filter(|port| Shed::new(1.0, Cause::Cpu).admit(&key(*port)).is_ok()).count();
    assert_eq!(kept, 0, "all is all");
}

#[test]
fn a_shed_survives_its_bits() {
    for shed in [Shed::default(), Shed::new(0.25, Cause::Cpu), Shed::new(1.0, Cause::Memory)] {
        assert_eq!(Shed::from_bits(shed.to_bits()), shed);
    }
}

#[test]
fn the_clock_counts_time_on_processors() {
    let mut clock = CpuClock::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(20) {
        std::hint::black_box(0);
    }
    assert!(clock.cores() > 0.0);
}
