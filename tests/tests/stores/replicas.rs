//! Several collectors on one table: an agent may turn to any of them at any batch.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use podtap_tests::{Conduct, S3Server, until};
use tokio::runtime::Runtime;

use crate::{
    collectors::{QUICK, Replica, found},
    follower::Follower,
    spooled::{Signals, Spool},
};

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

fn ids_at(runtime: &Runtime, url: &str) -> Vec<String> {
    let exchanges = runtime.block_on(found(url)).unwrap();
    sorted(exchanges.into_iter().map(|exchange| exchange.id).collect())
}

/// The first collector has batches in its queue that the agent sends to the second one, too.
#[test]
fn an_agent_that_turns_to_another_collector_loses_and_doubles_nothing() {
    let server = S3Server::start().unwrap();
    let replicas = [Replica::start(&server, "prod", QUICK), Replica::start(&server, "prod", QUICK)];
    // Commits take long enough for both to have the same batches in their queues.
    server.front().conduct(Conduct::Slow(Duration::from_millis(150)));
    let runtime = Runtime::new().unwrap();
    let signals = Arc::new(Signals::default());
    let spool = runtime.block_on(async {
        let mut spool = Spool::new("node-1", 7);
        for turn in 0..24 {
            // It leaves each time without an answer.
            let _ = spool.stream(&replicas[turn % 2].url(), 6, &signals).await;
        }
        signals.finish.store(true, Ordering::Relaxed);
        spool.run(replicas.iter().map(Replica::url).collect(), Arc::clone(&signals), 1).await
    });
    assert!(signals.streams.load(Ordering::Relaxed) > 20);
    let expected = sorted(spool.ids);
    for replica in &replicas {
        assert_eq!(ids_at(&runtime, &replica.url()), expected);
    }
    // Both had them: what was in one's queue was in the other's, or in the table already.
    let both = replicas.iter().filter(|replica| {
        replica.metric("podtap_collector_committed_batches_total").is_some_and(|batches| batches > 0.0)
    });
    assert_eq!(both.count(), 2);
}

#[test]
fn ten_collectors_share_a_slow_table_and_slow_down_for_it() {
    const COLLECTORS: usize = 10;
    let server = S3Server::start().unwrap();
    let first = Replica::start(&server, "prod", QUICK);
    let others = (1..COLLECTORS).map(|_| Replica::start(&server, "prod", QUICK));
    let replicas: Vec<_> = std::iter::once(first).chain(others).collect();
    let urls: Vec<_> = replicas.iter().map(Replica::url).collect();
    server.front().conduct(Conduct::Slow(Duration::from_millis(20)));

    let runtime = Runtime::new().unwrap();
    let signals = Arc::new(Signals::default());
    let follower = Follower::default();
    let following = runtime.spawn(follower.clone().run(vec![urls[0].clone()]));
    // Each agent keeps to one collector: a collector that starved would hold its agent's batches for ever.
    let agents: Vec<_> = (1_u64..)
        .zip(&urls)
        .map(|(number, url)| {
            let spool = Spool::new(&format!("node-{number}"), 1);
            runtime.spawn(spool.run(vec![url.clone()], Arc::clone(&signals), number))
        })
        .collect();
    let total = |name: &str| replicas.iter().filter_map(|replica| replica.metric(name)).sum::<f64>();
    until("every collector has committed some times", || {
        let commits: Vec<_> = replicas
            .iter()
            .map(|it| it.metric(r#"podtap_collector_commits_total{result="ok"}"#).unwrap_or_default())
            .collect();
        if commits.iter().all(|commits| *commits >= 8.0) { Ok(()) } else { Err(format!("{commits:?}")) }
    })
    .unwrap();
    until("collectors that slowed down", || {
        let slowed = replicas
            .iter()
            .filter(|it| it.metric("podtap_collector_commit_interval_seconds").is_some_and(|it| it > 0.1))
            .count();
        if slowed > 0 {
            Ok(())
        } else {
            Err(format!("{} conflicts", total("podtap_collector_commit_conflicts_total")))
        }
    })
    .unwrap();
    assert!(total("podtap_collector_commit_conflicts_total") > 0.0);

    signals.finish.store(true, Ordering::Relaxed);
    let mut expected = Vec::new();
    for agent in agents {
        expected.extend(runtime.block_on(agent).unwrap().ids);
    }
    let expected = sorted(expected);
    assert_eq!(ids_at(&runtime, &urls[3]), expected);
    drop(following);
}
