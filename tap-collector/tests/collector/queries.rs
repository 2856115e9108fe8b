//! Search, Get and Tail while ingest runs.

use futures::StreamExt as _;
use tap_proto::v1::{Exchange, GetRequest, SearchRequest, StatsRequest, TailRequest, TailResponse};
use tempfile::tempdir;
use tonic::{Code, Streaming};
use uuid::Uuid;

use crate::support::{Agent, Collector, exchange, paths, until, within};

#[tokio::test]
async fn captures_are_found_by_filter_by_page_and_by_id() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    let exchanges: Vec<Exchange> =
        ["/cart/1", "/search", "/cart/2", "/cart/3"].into_iter().map(exchange).collect();
    agent.send(1, exchanges.clone()).await;
    agent.until_acknowledged(1).await;

    let cart = r#"request.path.startsWith("/cart")"#;
    assert_eq!(paths(&collector.search(cart).await), ["/cart/1", "/cart/2", "/cart/3"]);

    let mut captures = collector.captures().await;
    let mut request = SearchRequest { filter: cart.to_owned(), page_size: 2, ..SearchRequest::default() };
    let first = captures.search(request.clone()).await.unwrap().into_inner();
    assert_eq!(paths(&first.exchanges), ["/cart/3", "/cart/2"]);
    request.page_token = first.next_page_token;
    let last = captures.search(request).await.unwrap().into_inner();
    assert_eq!((paths(&last.exchanges), last.next_page_token), (vec!["/cart/1"], String::new()));

    let id = exchanges[1].id.to_uppercase();
    let found = captures.get(GetRequest { id }).await.unwrap().into_inner();
    assert_eq!(paths(&[found]), ["/search"]);
    collector.stop().await;
}

#[tokio::test]
async fn statistics_are_of_what_is_stored() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    agent.send(1, ["/cart/1", "/cart/2", "/search"].into_iter().map(exchange).collect()).await;
    agent.until_acknowledged(1).await;

    let mut captures = collector.captures().await;
    let group_by = vec!["path_template".to_owned()];
    let request = StatsRequest { group_by, ..StatsRequest::default() };
    let answer = captures.stats(request.clone()).await.unwrap().into_inner();
    let counts =
        answer.groups.iter().map(|group| (&*group.key[0], group.summary.as_ref().unwrap().exchanges));
    assert_eq!(counts.collect::<Vec<_>>(), [("/cart/{id}", 2), ("/search", 1)]);
    assert_eq!(
        collector.metric("podtap_collector_queries_total{method=\"Stats\",code=\"Ok\"}").await,
        Some(1.0)
    );

    let unknown = StatsRequest { group_by: vec!["colour".to_owned()], ..request };
    let status = captures.stats(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("path_template"), "{status:?}");
    collector.stop().await;
}

#[tokio::test]
async fn what_can_not_be_answered_says_why() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut captures = collector.captures().await;

    let broken = "request.path ==".to_owned();
    let request = SearchRequest { filter: broken.clone(), ..SearchRequest::default() };
    let status = captures.search(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("filter: ") && status.message().contains("column"), "{status:?}");
    let status = captures.tail(TailRequest { filter: broken, ..TailRequest::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);

    let request = SearchRequest { page_token: "nonsense".to_owned(), ..SearchRequest::default() };
    assert_eq!(captures.search(request).await.unwrap_err().code(), Code::InvalidArgument);
    let status = captures.get(GetRequest { id: "nonsense".to_owned() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = captures.get(GetRequest { id: Uuid::now_v7().to_string() }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    collector.stop().await;
}

#[tokio::test]
async fn a_tail_delivers_what_is_committed_and_resumes_where_it_was() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    agent.send(1, vec![exchange("/cart/before")]).await;
    agent.until_acknowledged(1).await;

    let mut captures = collector.captures().await;
    let filter = r#"request.path.startsWith("/cart")"#.to_owned();
    let request = TailRequest { filter, ..TailRequest::default() };
    let mut tail = captures.tail(request.clone()).await.unwrap().into_inner();
    agent.send(2, vec![exchange("/cart/1"), exchange("/search")]).await;
    let first = next_page(&mut tail).await;
    assert_eq!(paths(&first.exchanges), ["/cart/1"]);

    // The client goes, and comes back later: nothing is missing.
    drop(tail);
    until("the tail's end", async || collector.metric("podtap_collector_tails ").await == Some(0.0)).await;
    agent.send(3, vec![exchange("/cart/2")]).await;
    agent.until_acknowledged(3).await;
    let request = TailRequest { resume_token: first.resume_token, ..request };
    let mut tail = captures.tail(request).await.unwrap().into_inner();
    assert_eq!(paths(&next_page(&mut tail).await.exchanges), ["/cart/2"]);
    collector.stop().await;
}

#[tokio::test]
async fn a_tail_that_nobody_reads_does_not_hold_ingest_up() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    let mut captures = collector.captures().await;
    let deaf = captures.tail(TailRequest::default()).await.unwrap().into_inner();
    // Far more than flow control lets the deaf client have.
    let body = "x".repeat(1 << 20);
    for sequence in 1..=12 {
        let mut large = exchange("/large");
        large.request.as_mut().unwrap().query = body.clone();
        agent.send(sequence, vec![large]).await;
    }
    agent.until_acknowledged(12).await;
    assert_eq!(collector.search("").await.len(), 12);
    drop(deaf);
    collector.stop().await;
}

/// The next page that holds exchanges.
async fn next_page(tail: &mut Streaming<TailResponse>) -> TailResponse {
    within("tail", async {
        loop {
            let page = tail.next().await.expect("the tail ended").unwrap();
            if !page.exchanges.is_empty() {
                return page;
            }
        }
    })
    .await
}
