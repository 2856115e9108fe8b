//! Queries that nobody means: a clear error or a bounded answer, and the collector answers others meanwhile.

use std::time::Duration;

use tap_proto::v1::{
    Body, Exchange, SearchRequest, StatsRequest, TailRequest, body::Content,
    capture_service_client::CaptureServiceClient,
};
use tempfile::tempdir;
use tokio::time::timeout;
use tonic::{Code, transport::Channel};

use crate::support::{Agent, Collector, PATIENCE, exchange, within};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_sizes_from_anyone_are_survived() {
    let store = tempdir().unwrap();
    let collector = Collector::start(store.path()).await;
    let mut agent = Agent::connect(collector.grpc, "node-1", 7).await;
    agent.send(1, (0..5).map(|index| exchange(&format!("/{index}"))).collect()).await;
    agent.until_acknowledged(1).await;
    let mut captures = collector.captures().await;

    let all = SearchRequest { page_size: u32::MAX, ..SearchRequest::default() };
    assert_eq!(captures.search(all).await.unwrap().into_inner().exchanges.len(), 5);
    let first = SearchRequest { page_size: 2, ..SearchRequest::default() };
    let token = captures.search(first.clone()).await.unwrap().into_inner().next_page_token;
    assert!(!token.is_empty());

    let mut tokens: Vec<String> = vec!["x".repeat(1 << 19), ".".repeat(10_000), "p1.".into(), "\u{0}".into()];
    for place in 0..token.len() {
        tokens.push(token[..place].to_owned());
        for other in ['0', '9', '.', 'z', '-', 'é'] {
            tokens.push(format!("{}{other}{}", &token[..place], &token[place + 1..]));
        }
    }
    let mut refused = 0;
    for token in tokens {
        let request = SearchRequest { page_token: token.clone(), ..first.clone() };
        match within("a page", captures.search(request)).await {
            // Another place of the same search.
            Ok(page) => assert!(page.into_inner().exchanges.len() <= 2),
            Err(status) => {
                assert_eq!(
                    status.code(),
                    Code::InvalidArgument,
                    "{}: {}",
                    &token[..token.len().min(80)],
                    status.message()
                );
                refused += 1;
            }
        }
        let tail = TailRequest { resume_token: token.clone(), ..TailRequest::default() };
        // Where it is no token at all, as all of these, which are of searches, or are empty.
        if let Err(status) = captures.tail(tail).await {
            assert_eq!(
                status.code(),
                Code::InvalidArgument,
                "{}: {}",
                &token[..token.len().min(80)],
                status.message()
            );
        } else {
            assert_eq!(token, "");
        }
    }
    assert!(refused > 50, "{refused}");

    let enormous = StatsRequest {
        step: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        start_time: Some(prost_types::Timestamp { seconds: -62_135_596_800, nanos: 0 }),
        end_time: Some(prost_types::Timestamp { seconds: 253_402_300_799, nanos: 0 }),
        limit: u32::MAX,
        ..StatsRequest::default()
    };
    let status = timeout(PATIENCE, captures.stats(enormous)).await.unwrap().unwrap_err();
    assert!(status.code() == Code::InvalidArgument && status.message().starts_with("step: "), "{status:?}");
    // A client that goes takes its query with it.
    let mut impatient = collector.captures().await;
    let request =
        SearchRequest { filter: "request.body.text.matches('a*b')".into(), ..SearchRequest::default() };
    let _ = timeout(Duration::from_millis(1), impatient.search(request)).await;
    assert_eq!(search(&mut captures, "").await.unwrap(), 5);
    collector.stop().await;
}
