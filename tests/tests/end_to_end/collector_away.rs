//! A collector that crashes under load: nothing acknowledged is lost, nothing is stored twice.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use podtap_tests::{Cgroup, Nginx, until};

use crate::{rig::Rig, traffic::exchange};

#[test]
fn a_killed_collector_loses_nothing_and_stores_nothing_twice() {
    let mut rig = Rig::new();
    let cgroup = Cgroup::create("away").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);

    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (address, stop_sending, counter) = (nginx.address(), &stop, &sent);
        scope.spawn(move || {
            while !stop_sending.load(Ordering::Relaxed) {
                let number = counter.load(Ordering::Relaxed);
                exchange(address, format!("GET /json?{number} HTTP/1.0\r\n\r\n").as_bytes());
                counter.store(number + 1, Ordering::Relaxed);
            }
        });
        for round in 1..=3 {
            let before = rig.client.summaries("").map_or(0, |exchanges| exchanges.len());
            until(&format!("more exchanges in round {round}"), || match rig.client.summaries("") {
                Ok(exchanges) if exchanges.len() > before => Ok(()),
                other => Err(format!("{:?}", other.map(|exchanges| exchanges.len()))),
            })
            .unwrap();
            rig.collector.kill().unwrap();
            let at_kill = sent.load(Ordering::Relaxed);
            until("requests while the collector is away", || {
                let now = sent.load(Ordering::Relaxed);
                if now > at_kill + 20 { Ok(()) } else { Err(format!("{now}")) }
            })
            .unwrap();
            rig.collector.restart().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });

    let sent = sent.into_inner();
    let totals = rig.settle(agent);
    let exchanges = rig.client.summaries("").unwrap();
    let ids: HashSet<_> = exchanges.iter().map(|exchange| &exchange.id).collect();
    assert_eq!(ids.len(), exchanges.len(), "an exchange is stored twice");
    let queries: HashSet<_> = exchanges
        .iter()
        .filter_map(|exchange| exchange.request.as_ref()?.query.parse::<usize>().ok())
        .collect();
    let missing: Vec<_> = (0..sent).filter(|number| !queries.contains(number)).collect();
    assert_eq!(missing, Vec::<usize>::new(), "{totals:#?}");
    assert_eq!(exchanges.len(), sent, "{totals:#?}");
}

#[test]
fn an_ordinary_restart_keeps_the_table() {
    let mut rig = Rig::new();
    let cgroup = Cgroup::create("restart").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);
    exchange(nginx.address(), b"GET /json?before HTTP/1.0\r\n\r\n");
    rig.stored(r#"request.query == "before""#, 1);
    rig.collector.terminate().unwrap();
    exchange(nginx.address(), b"GET /json?between HTTP/1.0\r\n\r\n");
    rig.collector.restart().unwrap();
    rig.stored(r#"request.path == "/json""#, 2);
    rig.settle(agent);
}
