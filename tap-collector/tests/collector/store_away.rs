//! A store that can't be reached is a state: nothing crashes, nothing is lost, and it is said.

use std::fs;

use tap_collector::Settings;
use tap_proto::v1::{Batch, SearchRequest, ingest_request};
use tempfile::tempdir;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{Agent, Collector, connect, exchange, message, settings, until, within};

#[tokio::test]
async fn a_store_that_is_away_at_the_start_is_waited_for() {
    let parent = tempdir().unwrap();
    let place = parent.path().join("table");
    // Permissions would not stop root.
    fs::write(&place, "not a directory").unwrap();
    let collector = Collector::start_with(settings(&place)).await;
    assert_eq!(collector.get("/ready").await, (503, "store\n".to_owned()));
    assert_eq!(collector.get("/live").await.0, 200);
    let status = Agent::try_connect(collector.grpc, "node-1", 7).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let status = collector.captures().await.search(SearchRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(health(&collector).await, 2);

    fs::remove_file(&place).unwrap();
    until("ready", async || collector.get("/ready").await.0 == 200).await;
    until("serving", async || health(&collector).await == 1).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    agent.send(1, vec![exchange("/")]).await;
    agent.until_acknowledged(1).await;
    collector.stop().await;
}

#[tokio::test]
async fn a_store_that_goes_away_holds_agents_back_and_loses_nothing() {
    const BATCHES: u64 = 200;
    const BATCH_BYTES: usize = 100_000;
    let parent = tempdir().unwrap();
    let (place, elsewhere) = (parent.path().join("table"), parent.path().join("elsewhere"));
    let small = Settings {
        commit_bytes: Some("1MiB".to_owned()),
        queue_bytes: Some("2MiB".to_owned()),
        ..settings(&place)
    };
    let collector = Collector::start_with(small).await;
    until("ready", async || collector.get("/ready").await.0 == 200).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;

    fs::rename(&place, &elsewhere).unwrap();
    fs::write(&place, "not a directory").unwrap();
    let requests = agent.requests();
    let sending = tokio::spawn(async move {
        for sequence in 1..=BATCHES {
            let mut exchange = exchange("/");
            // Text that zstd can't make much smaller, so that flow control sees it.
            let noise = (0..BATCH_BYTES / 32).map(|_| uuid::Uuid::now_v7().simple().to_string());
            exchange.request.as_mut().unwrap().query = noise.collect();
            let batch = Batch { sequence, exchanges: vec![exchange], ledger: None };
            requests.send(message(ingest_request::Message::Batch(batch))).await.unwrap();
        }
    });
    until("not ready", async || collector.get("/ready").await.0 == 503).await;
    assert_eq!(collector.metric("podtap_collector_store_reachable ").await, Some(0.0));
    let queued = async || collector.metric("podtap_collector_queue_bytes ").await.unwrap();
    until("a full queue", async || queued().await > 1_900_000.0).await;
    assert!(queued().await <= 2_097_152.0);
    assert!(!sending.is_finished(), "20 MB went into a queue of 2 MiB");
    assert_eq!(agent.acknowledged, 0);

    fs::remove_file(&place).unwrap();
    fs::rename(&elsewhere, &place).unwrap();
    agent.until_acknowledged(BATCHES).await;
    within("sending", sending).await.unwrap();
    assert_eq!(collector.get("/ready").await.0, 200);
    let mut sequences: Vec<u64> =
        collector.search("").await.iter().map(|exchange| exchange.sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=BATCHES).collect::<Vec<_>>());
    collector.stop().await;
}

/// 1 is SERVING, 2 NOT_SERVING.
async fn health(collector: &Collector) -> i32 {
    let mut client = HealthClient::new(connect(collector.grpc).await);
    let service = "tap.v1.IngestService".to_owned();
    client.check(HealthCheckRequest { service }).await.unwrap().into_inner().status
}
