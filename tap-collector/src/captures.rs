//! Queries over the table: Search, Get, Tail, Stats.
//!
//! None of them touches ingest: a tail reads commits from the table at its client's pace.

mod stats;

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use tap_proto::v1::{
    Exchange, GetRequest, Order, SearchRequest, SearchResponse, StatsRequest, StatsResponse, TailRequest,
    TailResponse, capture_service_server::CaptureService,
};
use tap_store::Query;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    metrics::{InGauge, Metrics},
    status,
    store_gate::StoreGate,
};

const DEFAULT_PAGE_SIZE: usize = 50;
const MAX_PAGE_SIZE: usize = 1000;
/// A scan decodes columns in parallel and holds row groups in memory: more at once are slower, and wait.
const CONCURRENT_SCANS: usize = 8;
/// Each holds up to some 200 MiB of latencies in the worst case, where every group has some of over an hour.
const CONCURRENT_STATS: usize = 2;
/// Each looks at the table's log about once a second.
const MAX_TAILS: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct Captures {
    gate: Arc<StoreGate>,
    scans: Arc<Semaphore>,
    stats: Arc<Semaphore>,
    tails: Arc<Semaphore>,
    metrics: Metrics,
    shutdown: CancellationToken,
}

type Tail = Pin<Box<dyn Stream<Item = Result<TailResponse, Status>> + Send>>;

impl Captures {
    pub(crate) fn new(gate: Arc<StoreGate>, metrics: Metrics, shutdown: CancellationToken) -> Self {
        Self {
            gate,
            scans: Arc::new(Semaphore::new(CONCURRENT_SCANS)),
            stats: Arc::new(Semaphore::new(CONCURRENT_STATS)),
            tails: Arc::new(Semaphore::new(MAX_TAILS)),
            metrics,
            shutdown,
        }
    }

    async fn find(&self, request: SearchRequest) -> Result<SearchResponse, Status> {
        let query = parse_query(request)?;
        let store = self.gate.store()?;
        let _scan = self.permit(&self.scans).await?;
        let page = store.search(query).await.map_err(|error| status::from_store(&error))?;
        Ok(SearchResponse {
            exchanges: page.exchanges,
            next_page_token: page.next_page_token.unwrap_or_default(),
        })
    }

    async fn find_one(&self, id: &str) -> Result<Exchange, Status> {
        let id = Uuid::try_parse(id)
            .map_err(|_| Status::invalid_argument("id: must be a UUID"))?
            .hyphenated()
            .to_string();
        let store = self.gate.store()?;
        let _scan = self.permit(&self.scans).await?;
        store
            .get(&id)
            .await
            .map_err(|error| status::from_store(&error))?
            .ok_or_else(|| Status::not_found(format!("there is no exchange {id}")))
    }

    async fn follow(&self, request: TailRequest) -> Result<Tail, Status> {
        let TailRequest { filter, resume_token, summary } = request;
        let condition = status::parse_filter(&filter)?;
        let store = self.gate.store()?;
        let slot = Arc::clone(&self.tails).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("this collector serves {MAX_TAILS} tails already"))
        })?;
        let resume_token = Some(resume_token).filter(|token| !token.is_empty());
        let pages =
            store.tail(condition, resume_token, summary).await.map_err(|error| status::from_store(&error))?;
        // Both live as long as the stream: until the client goes.
        let held = (slot, InGauge::new(&self.metrics.tails));
        let responses = pages.map(move |page| {
            let _ = &held;
            let page = page.map_err(|error| status::from_store(&error))?;
            Ok(TailResponse { exchanges: page.exchanges, resume_token: page.resume_token })
        });
        let end = stream::once(async { Err(status::shutting_down()) });
        Ok(Box::pin(responses.take_until(self.shutdown.clone().cancelled_owned()).chain(end)))
    }

    async fn count(&self, request: StatsRequest) -> Result<StatsResponse, Status> {
        let query = stats::parse(request)?;
        let store = self.gate.store()?;
        // A place of its own first: statistics that wait hold no place of a search.
        let _stats = self.permit(&self.stats).await?;
        let _scan = self.permit(&self.scans).await?;
        tokio::select! {
            counted = store.stats(query) => counted.map_err(|error| status::from_store(&error)),
            () = self.shutdown.cancelled() => Err(status::shutting_down()),
        }
    }

    async fn permit<'s>(&self, places: &'s Semaphore) -> Result<SemaphorePermit<'s>, Status> {
        tokio::select! {
            permit = places.acquire() => permit.map_err(|_| status::shutting_down()),
            () = self.shutdown.cancelled() => Err(status::shutting_down()),
        }
    }
}

#[tonic::async_trait]
impl CaptureService for Captures {
    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        let result = self.find(request.into_inner()).await;
        self.metrics.query("Search", status::code(&result));
        result.map(Response::new)
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Exchange>, Status> {
        let result = self.find_one(&request.into_inner().id).await;
        self.metrics.query("Get", status::code(&result));
        result.map(Response::new)
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        let result = self.count(request.into_inner()).await;
        self.metrics.query("Stats", status::code(&result));
        result.map(Response::new)
    }

    type TailStream = Tail;

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let result = self.follow(request.into_inner()).await;
        self.metrics.query("Tail", status::code(&result));
        result.map(Response::new)
    }
}

fn parse_query(request: SearchRequest) -> Result<Query, Status> {
    let SearchRequest { filter, start_time, end_time, order, page_size, page_token, summary } = request;
    let order = match Order::try_from(order) {
        Ok(Order::Unspecified | Order::NewestFirst) => Order::NewestFirst,
        Ok(Order::OldestFirst) => Order::OldestFirst,
        Err(_) => return Err(Status::invalid_argument(format!("order: {order} is not known"))),
    };
    let page_size = match page_size as usize {
        0 => DEFAULT_PAGE_SIZE,
        size => size.min(MAX_PAGE_SIZE),
    };
    Ok(Query {
        condition: status::parse_filter(&filter)?,
        start: status::parse_time("start_time", start_time)?,
        end: status::parse_time("end_time", end_time)?,
        order,
        page_size,
        page_token: Some(page_token).filter(|token| !token.is_empty()),
        summary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_defaults_asks_for_the_newest_fifty() {
        let query = parse_query(SearchRequest::default()).unwrap();
        assert_eq!((query.order, query.page_size, query.page_token), (Order::NewestFirst, 50, None));
        let all = SearchRequest { page_size: u32::MAX, ..SearchRequest::default() };
        assert_eq!(parse_query(all).unwrap().page_size, 1000);
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for request in [
            SearchRequest { order: 9, ..SearchRequest::default() },
            SearchRequest { filter: "x".repeat(100_000), ..SearchRequest::default() },
        ] {
            assert_eq!(parse_query(request).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
