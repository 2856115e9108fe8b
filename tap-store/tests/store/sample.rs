//! Exchanges to store, and the steps that the tests share.

use std::time::{Duration, UNIX_EPOCH};

use prost_types::Timestamp;
use tap_expr::Condition;
use tap_proto::v1::{
    Batch, Body, Completeness, Endpoint, Exchange, Header, Order, Request, Response, Role, body::Content,
    completeness::State,
};
use tap_store::{AgentEpoch, Query, Store};
use tempfile::TempDir;
use url::Url;

/// 2026-01-02 03:04:05 UTC.
pub(crate) const START: i64 = 1_767_323_045;

pub(crate) fn url(folder: &TempDir) -> Url {
    Url::from_directory_path(folder.path()).unwrap()
}

pub(crate) async fn store(folder: &TempDir) -> Store {
    Store::open(&url(folder)).await.unwrap()
}

pub(crate) fn agent(name: &str, epoch: u64) -> AgentEpoch {
    AgentEpoch { agent: name.to_owned(), epoch }
}

/// The `number`th exchange of an agent, `number` milliseconds after the start.
pub(crate) fn exchange(agent: &str, number: u64) -> Exchange {
    let milliseconds = START as u64 * 1000 + number;
    let salt: u64 = agent.bytes().fold(7, |salt, byte| salt.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let random = (u128::from(salt) << 32 | u128::from(number)) & ((1 << 62) - 1);
    let id = uuid::Uuid::from_u128(u128::from(milliseconds) << 80 | 0x7 << 76 | 0x2 << 62 | random);
    let method = ["GET", "POST", "DELETE"][number as usize % 3];
    let status = [200, 404, 503, 200, 200][number as usize % 5];
    Exchange {
        id: id.to_string(),
        role: Role::Inbound.into(),
        time: Some(Timestamp {
            seconds: (milliseconds / 1000) as i64,
            nanos: (milliseconds % 1000) as i32 * 1_000_000 + 123,
        }),
        duration: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 * (number % 50) as i32 }),
        target: "shop/cart-1".to_owned(),
        node: agent.to_owned(),
        namespace: ["shop", "billing"][number as usize % 2].to_owned(),
        workload: "Deployment/cart".to_owned(),
        pod: "cart-1".to_owned(),
        source: Some(Endpoint { ip: "10.0.0.1".to_owned(), port: 40_000, ..Endpoint::default() }),
        destination: Some(Endpoint { ip: "10.0.0.2".to_owned(), port: 80, ..Endpoint::default() }),
        flow: number / 4,
        flow_index: (number % 4) as u32,
        request: Some(Request {
            method: method.to_owned(),
            scheme: "http".to_owned(),
            host: "shop.example".to_owned(),
            path: format!("/cart/{number}"),
            version: "HTTP/1.1".to_owned(),
            headers: vec![Header {
                name: "Accept".to_owned(),
                value: "*/*".to_owned(),
                raw_value: Vec::new(),
            }],
            completeness: Some(Completeness { state: State::Complete.into(), ..Completeness::default() }),
            ..Request::default()
        }),
        response: (number % 7 != 6).then(|| Response {
            status,
            version: "HTTP/1.1".to_owned(),
            body: Some(Body {
                size: 20,
                content: Some(Content::Text(format!("number {}", number % 10))),
                ..Body::default()
            }),
            ..Response::default()
        }),
        wire_bytes: 100 + number,
        ..Exchange::default()
    }
}

/// A batch of the exchanges of these numbers.
pub(crate) fn batch(agent: &str, sequence: u64, numbers: std::ops::Range<u64>) -> Batch {
    Batch { sequence, exchanges: numbers.map(|number| exchange(agent, number)).collect(), ledger: None }
}

pub(crate) fn query(condition: &str, order: Order) -> Query {
    Query {
        condition: Condition::parse(condition).unwrap(),
        start: None,
        end: None,
        order,
        page_size: 1000,
        page_token: None,
        summary: false,
    }
}

/// Milliseconds after the start.
pub(crate) fn after_start(milliseconds: u64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_secs(START as u64) + Duration::from_millis(milliseconds)
}

/// All pages of a search.
pub(crate) async fn search_all(
    store: &Store,
    condition: &str,
    order: Order,
    page_size: usize,
) -> Vec<Exchange> {
    let mut found = Vec::new();
    let mut page_token = None;
    loop {
        let page = store.search(Query { page_size, page_token, ..query(condition, order) }).await.unwrap();
        assert!(page.exchanges.len() <= page_size);
        found.extend(page.exchanges);
        page_token = page.next_page_token;
        if page_token.is_none() {
            return found;
        }
    }
}

pub(crate) async fn ids(store: &Store) -> Vec<String> {
    search_all(store, "", Order::OldestFirst, 1000).await.into_iter().map(|exchange| exchange.id).collect()
}
