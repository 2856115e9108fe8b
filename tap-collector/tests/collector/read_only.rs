//! Whoever only reads: a table without a collector, and a collector beside the one that writes.

use tap_collector::{Settings, read_table};
use tap_proto::v1::{
    GetLedgerRequest, GetRequest, Ledger, ListMirrorsRequest, SearchRequest, TailRequest,
    capture_service_client::CaptureServiceClient, ledger_service_client::LedgerServiceClient,
    mirror_service_client::MirrorServiceClient,
};
use tap_replay::mirror;
use tempfile::{TempDir, tempdir};
use tonic::Code;
use url::Url;

use crate::{
    mirror::shadow,
    support::{Agent, Collector, connect, exchange, paths, settings, until, within},
};

fn url(store: &TempDir) -> Url {
    Url::from_directory_path(store.path()).unwrap()
}

#[tokio::test]
async fn a_table_answers_what_its_collector_would() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    agent.send(1, vec![exchange("/cart"), exchange("/search")]).await;
    agent.send_ledger(Ledger { r#final: true, ..Ledger::default() }).await;
    agent.until_acknowledged(1).await;
    assert_eq!(agent.finish().await.code(), Code::Ok);
    collector.stop().await;

    let table = read_table(&url(&store)).await.unwrap();
    let mut captures = CaptureServiceClient::new(table.clone());
    let search =
        SearchRequest { filter: r#"request.path == "/cart""#.to_owned(), ..SearchRequest::default() };
    let found = captures.search(search).await.unwrap().into_inner().exchanges;
    assert_eq!(paths(&found), ["/cart"]);
    let got = captures.get(GetRequest { id: found[0].id.clone() }).await.unwrap().into_inner();
    assert_eq!(got, found[0]);
    let wrong = SearchRequest { filter: "request.colour".to_owned(), ..SearchRequest::default() };
    assert_eq!(captures.search(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    let agents = LedgerServiceClient::new(table).get_ledger(GetLedgerRequest::default()).await.unwrap();
    let agents = agents.into_inner().agents;
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0].in_table.unwrap().exchanges, 2);

    // What a collector commits from here on is followed.
    let mut tail = captures.tail(TailRequest::default()).await.unwrap().into_inner();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 8).await;
    agent.send(1, vec![exchange("/late")]).await;
    agent.until_acknowledged(1).await;
    let mut tailed = Vec::new();
    while tailed.is_empty() {
        tailed = within("the tail", tail.message()).await.unwrap().unwrap().exchanges;
    }
    assert_eq!(paths(&tailed), ["/late"]);
    collector.stop().await;
}

#[tokio::test]
async fn where_there_is_no_table_the_error_says_where() {
    let store = tempdir().unwrap();
    let error = format!("{:#}", read_table(&url(&store)).await.unwrap_err());
    assert!(error.contains("no table") && error.contains(store.path().to_str().unwrap()), "{error}");
    // Nothing was made there.
    assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_mirror_follows_what_another_collector_commits() {
    let store = tempdir().unwrap();
    let (address, heads) = shadow().await;
    let writer = Collector::start(store.path()).await;
    let mut agent = Agent::connect(writer.grpc, "node-1", 7).await;
    agent.send(1, vec![exchange("/before")]).await;
    agent.until_acknowledged(1).await;

    let start_reader = async || {
        let mirrors = vec![mirror::Settings::at(format!("http://{address}"))];
        let reader =
            Collector::start_with(Settings { mirrors, read_only: true, ..settings(store.path()) }).await;
        until("ready", async || reader.get("/ready").await.0 == 200).await;
        reader
    };
    let considered = async |reader: &Collector| {
        let mut client = MirrorServiceClient::new(connect(reader.grpc).await);
        let mirrors = client.list_mirrors(ListMirrorsRequest {}).await.unwrap().into_inner().mirrors;
        mirrors[0].report.as_ref().unwrap().considered
    };
    let sent = || -> Vec<String> {
        let heads = heads.lock().unwrap();
        heads.iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    let reader = start_reader().await;
    // It is ready a moment before its tail begins.
    let mut sequence = 1;
    until("the first that is followed", async || {
        sequence += 1;
        agent.send(sequence, vec![exchange("/first")]).await;
        agent.until_acknowledged(sequence).await;
        considered(&reader).await > 0
    })
    .await;
    agent.send(sequence + 1, vec![exchange("/a"), exchange("/b")]).await;
    agent.until_acknowledged(sequence + 1).await;
    let mirrored = |path: &str| sent().iter().filter(|sent| *sent == path).count();
    until("both are mirrored", async || mirrored("/a") + mirrored("/b") == 2).await;
    assert_eq!(mirrored("/before"), 0);

    let refused = Agent::try_connect(reader.grpc, "node-2", 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("read_only"), "{refused}");
    // It answers queries as any collector.
    assert_eq!(paths(&reader.search(r#"request.path == "/before""#).await), ["/before"]);

    // What is committed while it is away is not mirrored, and nothing is mirrored again.
    reader.stop().await;
    agent.send(sequence + 2, vec![exchange("/between")]).await;
    agent.until_acknowledged(sequence + 2).await;
    let before = sent().len();
    let reader = start_reader().await;
    let mut sequence = sequence + 2;
    until("the first that is followed again", async || {
        sequence += 1;
        agent.send(sequence, vec![exchange("/again")]).await;
        agent.until_acknowledged(sequence).await;
        sent().len() > before
    })
    .await;
    let after: Vec<String> = sent().split_off(before);
    assert!(after.iter().all(|path| path == "/again"), "{after:?}");
    reader.stop().await;
    writer.stop().await;
}
