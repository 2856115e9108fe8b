//! Replays that run in the collector.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http_body_util::Empty;
use hyper::{Response, body::Bytes, service::service_fn};
use hyper_util::rt::TokioIo;
use tap_collector::Settings;
use tap_proto::v1::{GetReplayRequest, ListReplaysRequest, StartReplayRequest, replay::State};
use tempfile::tempdir;
use tokio::net::TcpListener;
use tonic::Code;

use crate::support::{Agent, Collector, exchange, settings, until, within};

/// Answers 200 and remembers the paths.
async fn server() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&paths);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                seen.lock().unwrap().push(request.uri().path().to_owned());
                async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, paths)
}

#[tokio::test]
async fn what_was_captured_is_sent_at_a_target_that_is_allowed() {
    let store = tempdir().unwrap();
    let (address, seen) = server().await;
    let target = format!("http://{address}");
    let allowing = Settings { allow_replay_target: vec![target.clone()], ..settings(store.path()) };
    let collector = Collector::start_with(allowing).await;
    until("ready", async || collector.get("/ready").await.0 == 200).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    let mut post = exchange("/cart/post");
    post.request.as_mut().unwrap().method = "POST".to_owned();
    agent.send(1, vec![exchange("/cart/1"), exchange("/search"), post, exchange("/cart/2")]).await;
    agent.until_acknowledged(1).await;

    let mut replays = collector.replays().await;
    let request = StartReplayRequest {
        filter: r#"request.path.startsWith("/cart")"#.to_owned(),
        target: target.clone(),
        speed: 1000.0,
        ..StartReplayRequest::default()
    };
    let started = replays.start_replay(request).await.unwrap().into_inner();
    assert_eq!(started.state(), State::Running);
    let id = GetReplayRequest { id: started.id.clone() };
    let mut watch = replays.watch_replay(id.clone()).await.unwrap().into_inner();
    let mut last = started;
    within("the replay", async {
        while let Some(update) = watch.message().await.unwrap() {
            last = update;
        }
    })
    .await;
    assert_eq!(last.state(), State::Finished, "{last:?}");
    let report = last.report.clone().unwrap();
    assert_eq!((report.selected, report.sent, report.answered), (3, 2, 2), "{report:?}");
    assert_eq!(report.not_sent.get("method"), Some(&1), "{report:?}");
    assert_eq!(report.statuses.get(&200), Some(&2), "{report:?}");
    let mut paths = seen.lock().unwrap().clone();
    paths.sort_unstable();
    assert_eq!(paths, ["/cart/1", "/cart/2"]);

    assert_eq!(replays.get_replay(id.clone()).await.unwrap().into_inner(), last);
    assert_eq!(replays.stop_replay(id).await.unwrap().into_inner(), last);
    let list = replays.list_replays(ListReplaysRequest {}).await.unwrap().into_inner();
    assert_eq!(list.replays, [last]);
    collector.stop().await;
}

#[tokio::test]
async fn targets_that_are_not_listed_and_requests_that_make_no_sense_are_refused() {
    let store = tempdir().unwrap();
    let allowing = Settings {
        allow_replay_target: vec!["http://staging.example:8080".to_owned()],
        ..settings(store.path())
    };
    let collector = Collector::start_with(allowing).await;
    until("ready", async || collector.get("/ready").await.0 == 200).await;
    let mut replays = collector.replays().await;
    let start = |target: &str, filter: &str, speed| StartReplayRequest {
        target: target.to_owned(),
        filter: filter.to_owned(),
        speed,
        ..StartReplayRequest::default()
    };
    let status = replays.start_replay(start("http://127.0.0.1:8080", "", 1.0)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("replay.allow_targets"), "{status:?}");
    for request in [
        start("http://staging.example:8080", "", -1.0),
        start("staging.example", "", 1.0),
        start("http://staging.example:8080", "request.path ==", 1.0),
    ] {
        assert_eq!(replays.start_replay(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let nobody = GetReplayRequest { id: "nobody".to_owned() };
    assert_eq!(replays.get_replay(nobody.clone()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(replays.watch_replay(nobody.clone()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(replays.stop_replay(nobody).await.unwrap_err().code(), Code::NotFound);
    collector.stop().await;
}
