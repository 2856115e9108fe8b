//! A collector in this process that serves prepared exchanges, page by page.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt as _, stream};
use tap_proto::v1::{
    Acknowledgement, AgentLedger, Batch, Completeness, Exchange, GetLedgerRequest, GetLedgerResponse,
    GetRequest, IngestRequest, IngestResponse, Ledger, Order, Request as HttpRequest,
    Response as HttpResponse, Role, SearchRequest, SearchResponse, StatsRequest, StatsResponse, TailRequest,
    TailResponse, Welcome,
    capture_service_server::{CaptureService, CaptureServiceServer},
    completeness::State,
    ingest_request, ingest_response,
    ingest_service_server::{IngestService, IngestServiceServer},
    ledger_service_server::{LedgerService, LedgerServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding, transport::Server};

/// Pages are smaller than asked for: a client must follow the tokens.
const PAGE: usize = 3;

pub(crate) const ID_TIME: &str = "018bcfe5-6800";

/// Stops when dropped.
pub(crate) struct Collector {
    pub(crate) url: String,
    state: Arc<Mutex<Served>>,
    _stop: DropGuard,
}

#[derive(Default)]
pub(crate) struct Served {
    /// Oldest first.
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) agents: Vec<AgentLedger>,
    /// The second page fails this many times.
    pub(crate) second_page_fails: usize,
    /// Every search that came in.
    pub(crate) searches: Vec<SearchRequest>,
    /// Every request for statistics that came in, and the answer to all of them.
    pub(crate) stats: Vec<StatsRequest>,
    pub(crate) statistics: StatsResponse,
    /// The resume tokens that came in.
    pub(crate) tails: Vec<String>,
    /// What agents sent: who, and each batch as often as it came.
    pub(crate) ingested: Vec<(String, Batch)>,
    /// The newest ledger of each agent.
    pub(crate) ledgers: Vec<Ledger>,
    /// Streams end after this many batches, without a word.
    pub(crate) breaks_after: Option<usize>,
}

impl Served {
    /// This many exchanges.
    pub(crate) fn of(count: u16) -> Self {
        Self { exchanges: (0..count).map(exchange).collect(), ..Self::default() }
    }
}

impl Collector {
    pub(crate) async fn start(served: Served) -> Self {
        Self::start_on("127.0.0.1:0", served).await
    }

    pub(crate) async fn start_on(address: &str, served: Served) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(served));
        let stop = CancellationToken::new();
        let service = Service { state: Arc::clone(&state) };
        let serving = Server::builder()
            .add_service(CaptureServiceServer::new(service.clone()))
            .add_service(LedgerServiceServer::new(service.clone()))
            .add_service(IngestServiceServer::new(service).accept_compressed(CompressionEncoding::Zstd))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        tokio::spawn(serving);
        Self { url: url(address), state, _stop: stop.drop_guard() }
    }

    pub(crate) fn served<T>(&self, read: impl FnOnce(&Served) -> T) -> T {
        read(&self.state.lock().unwrap())
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A complete GET of /`index`, `index` milliseconds after the first, answered with 200. The ids are of one
/// millisecond all the same.
pub(crate) fn exchange(index: u16) -> Exchange {
    let complete = Some(Completeness { state: State::Complete.into(), ..Completeness::default() });
    Exchange {
        id: format!("{ID_TIME}-7abc-8def-{index:04x}00000000"),
        role: Role::Inbound.into(),
        time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: i32::from(index) * 1_000_000 }),
        request: Some(HttpRequest {
            method: "GET".into(),
            host: "shop".into(),
            path: format!("/{index}"),
            version: "HTTP/1.1".into(),
            completeness: complete.clone(),
            ..HttpRequest::default()
        }),
        response: Some(HttpResponse { status: 200, completeness: complete, ..HttpResponse::default() }),
        ..Exchange::default()
    }
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<Served>>,
}

#[tonic::async_trait]
impl CaptureService for Service {
    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        let search = request.into_inner();
        let mut state = self.state.lock().unwrap();
        state.searches.push(search.clone());
        if search.filter.contains("nonsense") {
            let column = search.filter.find("nonsense").unwrap() + 1;
            return Err(Status::invalid_argument(format!(
                "filter: line 1, column {column}: no such variable"
            )));
        }
        let mut exchanges = state.exchanges.clone();
        if let Some(prefix) =
            search.filter.strip_prefix("id.startsWith(\"").and_then(|rest| rest.strip_suffix("\")"))
        {
            exchanges.retain(|exchange| exchange.id.starts_with(prefix));
        }
        if search.order() != Order::OldestFirst {
            exchanges.reverse();
        }
        if !search.page_token.is_empty() && state.second_page_fails > 0 {
            state.second_page_fails -= 1;
            return Err(Status::unavailable("restarting"));
        }
        let start: usize = search.page_token.parse().unwrap_or(0);
        let end = exchanges.len().min(start + PAGE.min(search.page_size as usize));
        Ok(Response::new(SearchResponse {
            next_page_token: if end < exchanges.len() { end.to_string() } else { String::new() },
            exchanges: exchanges[start..end].to_vec(),
        }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Exchange>, Status> {
        let GetRequest { id } = request.into_inner();
        let state = self.state.lock().unwrap();
        let found = state.exchanges.iter().find(|exchange| exchange.id == id);
        found
            .cloned()
            .map(Response::new)
            .ok_or_else(|| Status::not_found(format!("no exchange has the id {id}")))
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        let request = request.into_inner();
        if request.group_by.iter().any(|name| name == "colour") {
            return Err(Status::invalid_argument("group_by: `colour` is nothing to group by"));
        }
        let mut state = self.state.lock().unwrap();
        state.stats.push(request);
        Ok(Response::new(state.statistics.clone()))
    }

    type TailStream = Pin<Box<dyn Stream<Item = Result<TailResponse, Status>> + Send>>;

    /// One exchange an answer, at most two a stream: then the collector goes away, or is silent where there are no more.
    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let TailRequest { resume_token, .. } = request.into_inner();
        let mut state = self.state.lock().unwrap();
        let start: usize = resume_token.parse().unwrap_or(0);
        state.tails.push(resume_token);
        let rest = state.exchanges.iter().cloned().enumerate().skip(start);
        let answers: Vec<_> = rest
            .take(2)
            .map(|(index, exchange)| {
                Ok(TailResponse { exchanges: vec![exchange], resume_token: (index + 1).to_string() })
            })
            .collect();
        let end = if answers.len() < 2 {
            stream::pending().right_stream()
        } else {
            stream::iter([Err(Status::unavailable("going away"))]).left_stream()
        };
        Ok(Response::new(Box::pin(stream::iter(answers).chain(end))))
    }
}

#[tonic::async_trait]
impl LedgerService for Service {
    async fn get_ledger(
        &self,
        request: Request<GetLedgerRequest>,
    ) -> Result<Response<GetLedgerResponse>, Status> {
        let GetLedgerRequest { agent } = request.into_inner();
        let mut agents = self.state.lock().unwrap().agents.clone();
        agents.retain(|ledger| {
            agent.is_empty() || ledger.ledger.as_ref().is_some_and(|ledger| ledger.agent == agent)
        });
        Ok(Response::new(GetLedgerResponse { agents }))
    }
}

#[tonic::async_trait]
impl IngestService for Service {
    type IngestStream = Pin<Box<dyn Stream<Item = Result<IngestResponse, Status>> + Send>>;

    /// Keeps every batch, and acknowledges it at once.
    async fn ingest(
        &self,
        request: Request<Streaming<IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        let mut requests = request.into_inner();
        let Some(ingest_request::Message::Hello(hello)) = requests.message().await?.and_then(|it| it.message)
        else {
            return Err(Status::invalid_argument("no hello"));
        };
        let state = Arc::clone(&self.state);
        let durable = {
            let state = state.lock().unwrap();
            let own = state.ingested.iter().filter(|(agent, _)| *agent == hello.agent);
            own.map(|(_, batch)| batch.sequence).max().unwrap_or(0)
        };
        let welcome = ingest_response::Message::Welcome(Welcome { durable_sequence: durable });
        let batches = stream::unfold((requests, 0), move |(mut requests, taken)| {
            let (state, agent) = (Arc::clone(&state), hello.agent.clone());
            async move {
                loop {
                    if state.lock().unwrap().breaks_after == Some(taken) {
                        return None;
                    }
                    let mut ledger = |ledger: Ledger| {
                        let mut state = state.lock().unwrap();
                        state.ledgers.retain(|known| known.agent != ledger.agent);
                        state.ledgers.push(ledger);
                    };
                    match requests.message().await.ok()??.message? {
                        ingest_request::Message::Batch(mut batch) => {
                            batch.ledger.take().into_iter().for_each(&mut ledger);
                            let durable_sequence = batch.sequence;
                            state.lock().unwrap().ingested.push((agent, batch));
                            let message = ingest_response::Message::Acknowledgement(Acknowledgement {
                                durable_sequence,
                            });
                            let answer = Ok(IngestResponse { message: Some(message) });
                            return Some((answer, (requests, taken + 1)));
                        }
                        ingest_request::Message::Ledger(newest) => ledger(newest),
                        ingest_request::Message::Hello(_) => return None,
                    }
                }
            }
        });
        let welcome = stream::iter([Ok(IngestResponse { message: Some(welcome) })]);
        Ok(Response::new(Box::pin(welcome.chain(batches))))
    }
}
