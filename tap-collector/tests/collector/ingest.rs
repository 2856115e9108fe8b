//! Batches in, acknowledgements out, each exchange once.

use tap_proto::v1::ingest_service_client::IngestServiceClient;
use tap_proto::v1::{Batch, Exchange, Hello, IngestRequest, ingest_request::Message};
use tempfile::tempdir;
use tonic::{Code, Status};

use crate::support::{Agent, Collector, connect, exchange, message, paths, within};

#[tokio::test]
async fn what_is_acknowledged_is_in_the_table_with_the_batch_that_brought_it() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    assert_eq!(agent.welcome, 0);
    let honest = exchange("/1");
    let mut lying = exchange("/2");
    (lying.agent, lying.epoch, lying.sequence) = ("another".to_owned(), 1, 1);
    agent.send(1, vec![honest, lying]).await;
    // A gap is what the agent's spool dropped.
    agent.send(4, vec![exchange("/3")]).await;
    agent.until_acknowledged(4).await;
    assert_eq!(agent.acknowledged, 4);

    let found = collector.search("").await;
    assert_eq!(paths(&found), ["/1", "/2", "/3"]);
    let brought: Vec<_> = found.iter().map(|e| (e.agent.as_str(), e.epoch, e.sequence)).collect();
    assert_eq!(brought, [("node-1", 7, 1), ("node-1", 7, 1), ("node-1", 7, 4)]);
    assert_eq!(collector.metric("podtap_collector_committed_exchanges_total ").await, Some(3.0));
    collector.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_acknowledged_again_and_stored_once() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    for sequence in 1..=3 {
        agent.send(sequence, vec![exchange("/before")]).await;
    }
    agent.until_acknowledged(3).await;
    drop(agent);

    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    assert_eq!(agent.welcome, 3);
    agent.send(3, vec![exchange("/again")]).await;
    assert_eq!(agent.answer().await.unwrap(), Some(3));
    agent.send(4, vec![exchange("/after")]).await;
    agent.until_acknowledged(4).await;
    collector.stop().await;

    // Another process on the same table knows as much; another epoch starts anew.
    let collector = Collector::start(store.path()).await;
    assert_eq!(Agent::connect(collector.grpc, "node-1", 7).await.welcome, 4);
    assert_eq!(Agent::connect(collector.grpc, "node-1", 8).await.welcome, 0);
    assert_eq!(paths(&collector.search("").await), ["/before", "/before", "/before", "/after"]);
    collector.stop().await;
}

#[tokio::test]
async fn an_agent_that_ends_its_side_gets_the_last_acknowledgement_first() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let agent = Agent::connect(collector.grpc, "node-1", 7).await;
    agent.send(1, vec![exchange("/last")]).await;
    assert_eq!(agent.finish().await.code(), Code::Ok);
    assert_eq!(paths(&collector.search("").await), ["/last"]);
    collector.stop().await;
}

#[tokio::test]
async fn the_newest_stream_of_an_epoch_takes_over() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let older = Agent::connect(collector.grpc, "node-1", 7).await;
    older.send(1, vec![exchange("/1")]).await;
    let mut newer = Agent::connect(collector.grpc, "node-1", 7).await;
    assert_eq!(older.end().await.code(), Code::Aborted);
    // Whether the older stream's batch was queued or not, this one sends it again.
    for sequence in newer.welcome + 1..=2 {
        newer.send(sequence, vec![exchange(&format!("/{sequence}"))]).await;
    }
    newer.until_acknowledged(2).await;
    assert_eq!(paths(&collector.search("").await), ["/1", "/2"]);
    // Another agent's stream of the same epoch is another's.
    let _other = Agent::connect(collector.grpc, "node-2", 7).await;
    newer.send(3, vec![exchange("/3")]).await;
    newer.until_acknowledged(3).await;
    collector.stop().await;
}

#[tokio::test]
async fn bad_input_is_refused_with_its_reason_and_the_next_stream_works() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let hello = |agent: &str, epoch| Hello { agent: agent.to_owned(), epoch, version: String::new() };
    let greeting = || Message::Hello(hello("node-1", 7));
    let batch = |sequence, exchanges| Message::Batch(Batch { sequence, exchanges, ledger: None });
    let no_id = Exchange { id: "1".to_owned(), ..exchange("/") };
    let cases: [(Vec<Message>, &str); 9] = [
        // By the store: no table holds that sequence.
        (vec![greeting(), batch(u64::MAX, vec![exchange("/")])], "2^63"),
        (vec![batch(1, vec![])], "the first message must be hello"),
        (vec![Message::Hello(hello("", 7))], "hello.agent"),
        (vec![Message::Hello(hello("node-1", 0))], "hello.epoch"),
        (vec![greeting(), greeting()], "hello: only the first message"),
        (vec![greeting(), batch(0, vec![])], "batch.sequence: 0 does not ascend from 0"),
        (vec![greeting(), batch(2, vec![]), batch(2, vec![])], "batch.sequence: 2 does not ascend from 2"),
        (vec![greeting(), batch(3, vec![exchange("/"), no_id])], "batch 3, exchanges[1]: id"),
        (
            vec![greeting(), batch(4, vec![Exchange { time: None, ..exchange("/") }])],
            "batch 4, exchanges[0]: time",
        ),
    ];
    for (messages, reason) in cases {
        let status = end_of(&collector, messages.into_iter().map(message).collect()).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{reason}: {status:?}");
        assert!(status.message().contains(reason), "{reason}: {status:?}");
    }
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    agent.send(9, vec![exchange("/good")]).await;
    agent.until_acknowledged(9).await;
    assert_eq!(paths(&collector.search("").await), ["/good"]);
    assert_eq!(collector.get("/ready").await.0, 200);
    collector.stop().await;
}

#[tokio::test]
async fn many_agents_share_the_commits() {
    const AGENTS: u64 = 20;
    const BATCHES: u64 = 5;
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agents = Vec::new();
    for epoch in 1..=AGENTS {
        agents.push(Agent::connect(collector.grpc, &format!("node-{epoch}"), epoch).await);
    }
    for sequence in 1..=BATCHES {
        for agent in &agents {
            agent.send(sequence, vec![exchange("/")]).await;
        }
    }
    for agent in &mut agents {
        agent.until_acknowledged(BATCHES).await;
    }
    assert_eq!(collector.search("").await.len() as u64, AGENTS * BATCHES);
    assert_eq!(collector.metric("podtap_collector_ingest_streams ").await, Some(20.0));
    collector.stop().await;
}

/// Sends all of it, whatever is answered, and waits for the end.
async fn end_of(collector: &Collector, requests: Vec<IngestRequest>) -> Status {
    // Open-ended: the collector has to end the stream.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter(requests), tokio_stream::pending());
    let mut client = IngestServiceClient::new(connect(collector.grpc).await);
    within("the end", async {
        let mut answers = client.ingest(requests).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    })
    .await
    .expect_err("it was not refused")
}
