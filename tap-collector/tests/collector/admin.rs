//! What operators and tools see: admin routes, reflection, health.

use std::collections::BTreeSet;

use tempfile::tempdir;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{Collector, connect, within};

const OURS: [&str; 4] =
    ["tap.v1.CaptureService", "tap.v1.IngestService", "tap.v1.LedgerService", "tap.v1.ReplayService"];

#[tokio::test]
async fn the_admin_port_answers() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    assert_eq!(collector.get("/live").await.0, 200);
    assert_eq!(collector.get("/ready").await.0, 200);
    let (status, metrics) = collector.get("/metrics").await;
    assert_eq!(status, 200);
    for name in [
        "podtap_collector_store_reachable 1",
        "podtap_collector_queue_bytes 0",
        "podtap_collector_committed_exchanges_total 0",
        "podtap_collector_commit_seconds_bucket",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    collector.stop().await;
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let channel = connect(collector.grpc).await;

    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = within("v1", answers.message()).await.unwrap().unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("{answer:?}");
    };
    let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in OURS.iter().chain(&["grpc.health.v1.Health"]) {
        assert!(names.contains(*name), "{name} is not in {names:?}");
    }

    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            "tap.v1.CaptureService".to_owned(),
        )),
    };
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = within("v1alpha", answers.message()).await.unwrap().unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) =
        answer.message_response
    else {
        panic!("{answer:?}");
    };
    assert!(!files.file_descriptor_proto.is_empty());
    collector.stop().await;
}

#[tokio::test]
async fn every_service_is_healthy() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut client = HealthClient::new(connect(collector.grpc).await);
    for service in OURS.iter().chain(&[""]) {
        let request = HealthCheckRequest { service: (*service).to_owned() };
        crate::support::until("serving", async || {
            client.check(request.clone()).await.unwrap().into_inner().status == 1
        })
        .await;
    }
    collector.stop().await;
}
