//! Queries that nobody means: a clear error or a bounded answer, and the collector answers others meanwhile.

use tap_proto::v1::{
    Body, Exchange, SearchRequest, StatsRequest, TailRequest, body::Content,
    capture_service_client::CaptureServiceClient,
};
use tempfile::tempdir;
use tonic::{Code, transport::Channel};

use crate::support::{Agent, Collector, exchange, within};

/// Letters a and b in an order that no short pattern describes.
fn noise(length: usize) -> String {
    let mut state = 1_u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 31 == 0 { 'a' } else { 'b' }
    };
    (0..length).map(letter).collect()
}

/// `count` exchanges with bodies that are hard to search.
fn noisy(count: usize) -> Vec<Exchange> {
    let body = noise(60_000);
    let with_body = |index: usize| {
        let mut exchange = exchange(&format!("/noise/{index}"));
        let content = Some(Content::Text(body.clone()));
        exchange.request.as_mut().unwrap().body =
            Some(Body { content, size: body.len() as u64, ..Body::default() });
        exchange
    };
    (0..count).map(with_body).collect()
}

/// What can't be a condition, by what is wrong with it.
fn wrong_filters() -> Vec<String> {
    let mut filters: Vec<String> = [
        "request.path ==",
        "request.pth == ''",
        "request.path.matches('(')",
        "request.path.matches('(a{1000}){1000}')",
        "request.path.matches(request.path)",
        "request.body.json",
        "\u{0}",
        "\u{1b}[31m",
        "'",
        "null",
        "1",
        "[[1]]",
        "{}",
    ]
    .map(str::to_owned)
    .into();
    for piece in ["(", "[", "!(", "a.", "1+", "true ? ", "- ", "'a' + ", "[1].exists(a, "] {
        filters.extend([100, 2_000, 20_000].map(|times| piece.repeat(times)));
    }
    filters
}

async fn search(captures: &mut CaptureServiceClient<Channel>, filter: &str) -> Result<usize, tonic::Status> {
    let request = SearchRequest { filter: filter.to_owned(), ..SearchRequest::default() };
    let found = within("a search", captures.search(request)).await;
    found.map(|page| page.into_inner().exchanges.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_condition_is_told_so_everywhere() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut captures = collector.captures().await;
    for filter in wrong_filters() {
        let searched = search(&mut captures, &filter).await.unwrap_err();
        let tail = TailRequest { filter: filter.clone(), ..TailRequest::default() };
        let tailed = captures.tail(tail).await.unwrap_err();
        let stats = StatsRequest { filter: filter.clone(), ..StatsRequest::default() };
        let counted = captures.stats(stats).await.unwrap_err();
        for status in [searched, tailed, counted] {
            let message = status.message();
            assert_eq!(status.code(), Code::InvalidArgument, "{message}");
            assert!(message.starts_with("filter: ") && message.len() < 1_000, "{message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
        }
    }
    assert_eq!(search(&mut captures, "").await.unwrap(), 0);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_conditions_take_a_bounded_time_and_hold_nobody_up() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    agent.send(1, noisy(8)).await;
    agent.send(2, vec![exchange("/cart")]).await;
    agent.until_acknowledged(2).await;

    // Each of them would take minutes on these bodies, were it evaluated to the end.
    let pattern = "request.body.text.matches('[ab]*a[ab]{1000}c')";
    let hostile = [
        format!("!{pattern}"),
        vec![pattern; 20].join(" || "),
        "request.headers.all(a, request.headers.all(b, !request.body.text.matches('(a|b|ab)*c')))".to_owned(),
        "['a', 'b', 'c'].exists(x, (request.body.text + request.body.text + x).contains('bbbbbbbbbbbbbbbbbbbbbbbbbc'))"
            .to_owned(),
        "request.body.json.a == 1 || request.body.text.matches('(?:[ab]*a[ab]{60}c|[ab]*b[ab]{61}d){1,20}e')".to_owned(),
    ];
    let mut searches = tokio::task::JoinSet::new();
    for filter in hostile {
        for _ in 0..2 {
            let (mut captures, filter) = (collector.captures().await, filter.clone());
            searches.spawn(async move {
                let stats = StatsRequest { filter: filter.clone(), ..StatsRequest::default() };
                within("statistics", captures.stats(stats)).await.unwrap();
                search(&mut captures, &filter).await.unwrap()
            });
        }
    }
    // Meanwhile others are served, and agents too.
    let mut captures = collector.captures().await;
    for sequence in 3..6 {
        agent.send(sequence, vec![exchange("/cart")]).await;
        agent.until_acknowledged(sequence).await;
        assert_eq!(search(&mut captures, "request.path == '/cart'").await.unwrap() as u64, sequence - 1);
    }
    while let Some(found) = within("hostile searches", searches.join_next()).await {
        found.unwrap();
    }
    collector.stop().await;
}
