//! Ledgers: the newest of every agent, while it is connected and after.

use tap_proto::v1::{AgentLedger, Amount, Batch, GetLedgerRequest, Ledger, TargetLedger};
use tempfile::tempdir;

use crate::support::{Agent, Collector, exchange, until};

fn ledger(stored: u64) -> Ledger {
    let amount = |exchanges| Some(Amount { exchanges, bytes: 0, segments: 0 });
    Ledger {
        // The collector knows better.
        agent: "another".to_owned(),
        epoch: 99,
        time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        r#final: false,
        targets: vec![TargetLedger {
            target: "shop".to_owned(),
            assembled: amount(stored),
            stored: amount(stored),
            ..TargetLedger::default()
        }],
        ..Ledger::default()
    }
}

async fn ledgers(collector: &Collector, agent: &str) -> Vec<AgentLedger> {
    let request = GetLedgerRequest { agent: agent.to_owned() };
    collector.ledger().await.get_ledger(request).await.unwrap().into_inner().agents
}

fn stored(agent: &AgentLedger) -> u64 {
    agent.ledger.as_ref().unwrap().targets[0].stored.unwrap().exchanges
}

#[tokio::test]
async fn the_newest_ledger_of_each_agent_stays_with_what_the_table_holds() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut first = Agent::connect(collector.grpc, "node-1", 7).await;
    let second = Agent::connect(collector.grpc, "node-2", 8).await;
    let batch =
        Batch { sequence: 1, exchanges: vec![exchange("/1"), exchange("/2")], ledger: Some(ledger(0)) };
    first.try_send(batch).await.unwrap();
    first.until_acknowledged(1).await;
    second.send_ledger(ledger(0)).await;
    until("both ledgers", async || ledgers(&collector, "").await.len() == 2).await;

    // The next one replaces it at once, not after the next write.
    first.send_ledger(ledger(2)).await;
    until("the newer ledger", async || stored(&ledgers(&collector, "node-1").await[0]) == 2).await;
    let agents = ledgers(&collector, "node-1").await;
    assert_eq!(agents.len(), 1);
    let newest = agents[0].ledger.as_ref().unwrap();
    assert_eq!((newest.agent.as_str(), newest.epoch), ("node-1", 7));
    assert_eq!(agents[0].in_table.unwrap().exchanges, 2);

    let last = Ledger { r#final: true, ..ledger(2) };
    first.send_ledger(last).await;
    first.finish().await;
    collector.stop().await;

    let collector = Collector::start(store.path()).await;
    let agents = ledgers(&collector, "").await;
    assert_eq!(agents.len(), 2);
    assert!(agents[0].ledger.as_ref().unwrap().r#final);
    assert_eq!((stored(&agents[0]), agents[0].in_table.unwrap().exchanges), (2, 2));
    collector.stop().await;
}
