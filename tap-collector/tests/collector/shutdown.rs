//! Shutdown in the middle of everything.

use tap_collector::Settings;
use tap_proto::v1::TailRequest;
use tempfile::tempdir;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_client::ServerReflectionClient};

use crate::support::{Agent, Collector, connect, exchange, paths, settings, until, within};

#[tokio::test]
async fn open_streams_end_and_what_is_queued_is_committed_first() {
    let store = tempdir().unwrap();
    // Longer than any wait of this test: nothing is committed but by the shutdown.
    let slow = Settings { commit_interval: Some("60s".to_owned()), ..settings(store.path()) };
    let collector = Collector::start_with(slow).await;
    until("ready", async || collector.get("/ready").await.0 == 200).await;
    let mut captures = collector.captures().await;
    let mut tail = captures.tail(TailRequest::default()).await.unwrap().into_inner();
    let mut health = HealthClient::new(connect(collector.grpc).await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    // As grpcurl does while it waits for its answers.
    let mut reflection = ServerReflectionClient::new(connect(collector.grpc).await);
    let questions = tokio_stream::pending::<ServerReflectionRequest>();
    let reflection = reflection.server_reflection_info(questions).await.unwrap().into_inner();
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    agent.send(1, vec![exchange("/queued")]).await;
    until("the queue", async || {
        collector.metric("podtap_collector_queue_bytes ").await.is_some_and(|bytes| bytes > 0.0)
    })
    .await;

    collector.shutdown.cancel();
    assert_eq!(agent.answer().await.unwrap(), Some(1));
    assert_eq!(agent.end().await.code(), Code::Unavailable);
    let tail_end = within("the tail's end", async {
        loop {
            if let Err(status) = tail.message().await {
                break status;
            }
        }
    });
    assert_eq!(tail_end.await.code(), Code::Unavailable);
    within("the watch's end", async { while let Ok(Some(_)) = watch.message().await {} }).await;
    collector.stop().await;
    drop(reflection);

    let collector = Collector::start(store.path()).await;
    assert_eq!(paths(&collector.search("").await), ["/queued"]);
    collector.stop().await;
}
