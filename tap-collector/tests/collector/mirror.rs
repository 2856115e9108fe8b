//! Mirrors of what agents send: the shadow's share, and that ingest does not notice what the shadow does.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tap_collector::Settings;
use tap_proto::v1::{
    ListMirrorsRequest, Mirror, MirrorReport, WatchMirrorRequest, mirror::State,
    mirror_service_client::MirrorServiceClient,
};
use tap_replay::mirror;
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tonic::{Code, transport::Channel};

use crate::support::{Agent, Collector, connect, exchange, settings, until, within};

/// Answers every request with 200 and remembers the heads.
pub(crate) async fn shadow() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        seen.lock().unwrap().push(String::from_utf8(std::mem::take(&mut head)).unwrap());
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                    }
                }
            });
        }
    });
    (address, heads)
}

async fn start(store: &std::path::Path, mirrors: Vec<mirror::Settings>) -> Collector {
    let collector = Collector::start_with(Settings { mirrors, ..settings(store) }).await;
    until("ready", async || collector.get("/ready").await.0 == 200).await;
    collector
}

async fn client(collector: &Collector) -> MirrorServiceClient<Channel> {
    MirrorServiceClient::new(connect(collector.grpc).await)
}

async fn list(collector: &Collector) -> Vec<Mirror> {
    let mut client = client(collector).await;
    client.list_mirrors(ListMirrorsRequest {}).await.unwrap().into_inner().mirrors
}

/// Waits for a report of the only mirror.
async fn report(collector: &Collector, what: &str, holds: impl Fn(&MirrorReport) -> bool) -> MirrorReport {
    let mut last = MirrorReport::default();
    until(what, async || {
        last = list(collector).await.remove(0).report.unwrap();
        let sum = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
        assert_eq!(last.considered, last.selected + sum(&last.passed_over), "{last:?}");
        assert_eq!(last.selected, last.sent + last.waiting + sum(&last.not_sent), "{last:?}");
        assert_eq!(last.sent, last.answered + last.in_flight + sum(&last.failed), "{last:?}");
        holds(&last)
    })
    .await;
    last
}

#[tokio::test]
async fn what_became_durable_is_mirrored_once() {
    let store = tempdir().unwrap();
    let (address, heads) = shadow().await;
    let mirror = mirror::Settings {
        name: "v2".to_owned(),
        prefixes: vec!["/cart".to_owned()],
        compare: true,
        ..mirror::Settings::at(format!("http://{address}"))
    };
    let collector = start(store.path(), vec![mirror]).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    let batch = vec![exchange("/cart/1"), exchange("/search"), exchange("/cart/2")];
    agent.send(1, batch.clone()).await;
    agent.until_acknowledged(1).await;

    // Redelivery, as after a crash of either: what is durable already is mirrored no second time.
    let mut again = Agent::connect(collector.grpc, "node-1", 7).await;
    assert_eq!(again.welcome, 1);
    again.send(1, batch).await;
    again.send(2, vec![exchange("/cart/3")]).await;
    again.until_acknowledged(2).await;

    let report = report(&collector, "three answers", |report| report.answered == 3).await;
    assert_eq!((report.considered, report.passed_over["path"]), (4, 1), "{report:?}");
    assert_eq!((report.matched, report.differed), (3, 0), "{report:?}");
    assert!(report.lag.unwrap().count == 3 && report.last_lag_us > 0);
    let heads = heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 3);
    assert!(heads.iter().all(|head| head.contains("\r\nPodtap-Replay: mirror.v2\r\n")), "{heads:?}");

    assert_eq!(collector.metric(r#"podtap_collector_mirror_sent_total{mirror="v2"}"#).await, Some(3.0));
    assert_eq!(collector.metric(r#"podtap_collector_mirror_waiting{mirror="v2"}"#).await, Some(0.0));
    let mirrors = list(&collector).await;
    assert_eq!((mirrors[0].name.as_str(), mirrors[0].state()), ("v2", State::Running));
    assert!(mirrors[0].settings.contains("prefixes:\n- /cart\n"), "{}", mirrors[0].settings);

    let mut client = client(&collector).await;
    let mut watch =
        client.watch_mirror(WatchMirrorRequest { name: "v2".to_owned() }).await.unwrap().into_inner();
    for _ in 0..2 {
        let update = within("an update", watch.message()).await.unwrap().unwrap();
        assert_eq!(update.report.unwrap().answered, 3);
    }
    let nobody = client.watch_mirror(WatchMirrorRequest { name: "v3".to_owned() }).await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    collector.stop().await;
}

#[tokio::test]
async fn ingest_does_not_notice_what_a_shadow_does() {
    // One that accepts and never answers, one that nobody listens at.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for address in [deaf.local_addr().unwrap(), closed] {
        let store = tempdir().unwrap();
        let mirror = mirror::Settings {
            max_in_flight: Some(2),
            timeout: Some("500ms".to_owned()),
            ..mirror::Settings::at(format!("http://{address}"))
        };
        let collector = start(store.path(), vec![mirror]).await;
        let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
        // More than the mirror's queue holds.
        let batches = 12_u64;
        for sequence in 1..=batches {
            agent
                .send(sequence, (0..500).map(|number| exchange(&format!("/{sequence}/{number}"))).collect())
                .await;
        }
        agent.until_acknowledged(batches).await;
        assert_eq!(collector.metric("podtap_collector_committed_exchanges_total").await, Some(6_000.0));
        let report =
            report(&collector, "failures", |report| report.considered == 6_000 && !report.failed.is_empty())
                .await;
        let unsent: u64 = report.not_sent.values().sum();
        assert!(report.answered == 0 && (unsent > 0 || address == closed), "{report:?}");
        collector.stop().await;
    }
}

#[tokio::test]
async fn a_collector_without_mirrors_says_so() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    assert!(list(&collector).await.is_empty());
    collector.stop().await;
}
