//! A collector to talk to, an agent that talks, and waiting for conditions.

use std::{future::Future, net::SocketAddr, path::Path, time::Duration};

use futures::StreamExt as _;
use tap_admin::LogLevel;
use tap_collector::{Config, Listeners, Settings};
use tap_proto::v1::{
    Batch, Exchange, Hello, IngestRequest, IngestResponse, Ledger, Order, Request, Role, SearchRequest,
    capture_service_client::CaptureServiceClient, ingest_request, ingest_response,
    ingest_service_client::IngestServiceClient, ledger_service_client::LedgerServiceClient,
    replay_service_client::ReplayServiceClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming, transport::Channel};
use uuid::Uuid;

/// Only a failure takes this long. Less than the longest commit interval.
pub(crate) const PATIENCE: Duration = Duration::from_secs(50);
const POLL: Duration = Duration::from_millis(20);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Polls until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !condition().await {
            sleep(POLL).await;
        }
    })
    .await;
}

/// A collector in this process.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// For tests: any port, and commits that are due at once.
pub(crate) fn settings(store: &Path) -> Settings {
    Settings {
        listen: Some("127.0.0.1:0".to_owned()),
        admin_listen: Some("127.0.0.1:0".to_owned()),
        store: Some(store.to_str().unwrap().to_owned()),
        commit_interval: Some("10ms".to_owned()),
        ..Settings::default()
    }
}

impl Collector {
    /// Returns once the collector is ready.
    pub(crate) async fn start(store: &Path) -> Self {
        let collector = Self::start_with(settings(store)).await;
        until("ready", async || collector.get("/ready").await.0 == 200).await;
        collector
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let config: Config = settings.validate().unwrap();
        let listeners = Listeners::bind(&config).await.unwrap();
        let grpc = listeners.grpc.local_addr().unwrap();
        let admin = listeners.admin.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(tap_collector::run(config, listeners, LogLevel::default(), shutdown.clone()));
        Self { grpc, admin, shutdown, task }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        within("shutdown", self.task).await.unwrap().unwrap();
    }

    pub(crate) async fn captures(&self) -> CaptureServiceClient<Channel> {
        CaptureServiceClient::new(connect(self.grpc).await)
    }

    pub(crate) async fn ledger(&self) -> LedgerServiceClient<Channel> {
        LedgerServiceClient::new(connect(self.grpc).await)
    }

    pub(crate) async fn replays(&self) -> ReplayServiceClient<Channel> {
        ReplayServiceClient::new(connect(self.grpc).await)
    }

    /// Everything that matches, oldest first, page by page.
    pub(crate) async fn search(&self, filter: &str) -> Vec<Exchange> {
        search(self.grpc, filter).await
    }

    /// A GET of the admin port.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        get(self.admin, path).await
    }

    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let (_, metrics) = self.get("/metrics").await;
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

pub(crate) async fn connect(address: SocketAddr) -> Channel {
    within("connect", Channel::from_shared(format!("http://{address}")).unwrap().connect()).await.unwrap()
}

pub(crate) async fn search(address: SocketAddr, filter: &str) -> Vec<Exchange> {
    let mut captures = CaptureServiceClient::new(connect(address).await);
    let mut found = Vec::new();
    let mut request = SearchRequest {
        filter: filter.to_owned(),
        order: Order::OldestFirst.into(),
        page_size: 1000,
        ..SearchRequest::default()
    };
    loop {
        let page = within("search", captures.search(request.clone())).await.unwrap().into_inner();
        found.extend(page.exchanges);
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = within("admin port", async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    })
    .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The agent's end of an ingest stream.
#[derive(Debug)]
pub(crate) struct Agent {
    requests: mpsc::Sender<IngestRequest>,
    answers: Streaming<IngestResponse>,
    /// The durable sequence of the welcome.
    pub(crate) welcome: u64,
    pub(crate) acknowledged: u64,
}

impl Agent {
    pub(crate) async fn connect(collector: SocketAddr, agent: &str, epoch: u64) -> Self {
        Self::try_connect(collector, agent, epoch).await.unwrap()
    }

    pub(crate) async fn try_connect(collector: SocketAddr, agent: &str, epoch: u64) -> Result<Self, Status> {
        let endpoint = Channel::from_shared(format!("http://{collector}")).unwrap();
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (requests, request_rx) = mpsc::channel(4);
        let hello = Hello { agent: agent.to_owned(), epoch, version: "test".to_owned() };
        requests.send(message(ingest_request::Message::Hello(hello))).await.unwrap();
        let mut client =
            IngestServiceClient::new(channel).send_compressed(tonic::codec::CompressionEncoding::Zstd);
        let mut answers = client.ingest(ReceiverStream::new(request_rx)).await?.into_inner();
        let answer = answers.next().await.ok_or_else(|| Status::unavailable("no welcome"))??;
        let Some(ingest_response::Message::Welcome(welcome)) = answer.message else {
            panic!("not a welcome: {answer:?}");
        };
        let welcome = welcome.durable_sequence;
        Ok(Self { requests, answers, welcome, acknowledged: welcome })
    }

    /// Fails where the stream has ended.
    pub(crate) async fn try_send(&self, batch: Batch) -> Result<(), ()> {
        self.requests.send(message(ingest_request::Message::Batch(batch))).await.map_err(drop)
    }

    pub(crate) async fn send(&self, sequence: u64, exchanges: Vec<Exchange>) {
        let batch = Batch { sequence, exchanges, ledger: None };
        within("send", self.try_send(batch)).await.unwrap();
    }

    pub(crate) async fn send_ledger(&self, ledger: Ledger) {
        self.requests.send(message(ingest_request::Message::Ledger(ledger))).await.unwrap();
    }

    /// A sender of its own, to send while answers are awaited.
    pub(crate) fn requests(&self) -> mpsc::Sender<IngestRequest> {
        self.requests.clone()
    }

    /// The next acknowledgement; `None` where the collector ended the stream.
    pub(crate) async fn answer(&mut self) -> Result<Option<u64>, Status> {
        let Some(answer) = within("an answer", self.answers.next()).await.transpose()? else {
            return Ok(None);
        };
        let Some(ingest_response::Message::Acknowledgement(acknowledgement)) = answer.message else {
            panic!("not an acknowledgement: {answer:?}");
        };
        self.acknowledged = acknowledgement.durable_sequence;
        Ok(Some(self.acknowledged))
    }

    pub(crate) async fn until_acknowledged(&mut self, sequence: u64) {
        while self.acknowledged < sequence {
            self.answer().await.unwrap().expect("the stream ended before the acknowledgement");
        }
    }

    /// What the collector ends the stream with.
    pub(crate) async fn end(mut self) -> Status {
        loop {
            match self.answer().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::new(Code::Ok, ""),
                Err(status) => return status,
            }
        }
    }

    /// Has nothing more to send.
    pub(crate) async fn finish(self) -> Status {
        let Self { requests, answers, welcome, acknowledged } = self;
        drop(requests);
        let (closed, _) = mpsc::channel(1);
        Self { requests: closed, answers, welcome, acknowledged }.end().await
    }
}

pub(crate) fn message(message: ingest_request::Message) -> IngestRequest {
    IngestRequest { message: Some(message) }
}

/// A GET of `path`, a moment ago.
pub(crate) fn exchange(path: &str) -> Exchange {
    let id = Uuid::now_v7();
    let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
    Exchange {
        id: id.to_string(),
        role: Role::Inbound.into(),
        time: Some(prost_types::Timestamp {
            seconds: i64::try_from(seconds).unwrap(),
            nanos: i32::try_from(nanos / 1_000_000 * 1_000_000).unwrap(),
        }),
        target: "shop".to_owned(),
        request: Some(Request {
            method: "GET".to_owned(),
            scheme: "http".to_owned(),
            host: "shop.example".to_owned(),
            path: path.to_owned(),
            version: "HTTP/1.1".to_owned(),
            completeness: Some(complete()),
            ..Request::default()
        }),
        response: Some(tap_proto::v1::Response {
            status: 200,
            version: "HTTP/1.1".to_owned(),
            completeness: Some(complete()),
            ..tap_proto::v1::Response::default()
        }),
        ..Exchange::default()
    }
}

fn complete() -> tap_proto::v1::Completeness {
    tap_proto::v1::Completeness {
        state: tap_proto::v1::completeness::State::Complete.into(),
        ..tap_proto::v1::Completeness::default()
    }
}

pub(crate) fn paths(exchanges: &[Exchange]) -> Vec<&str> {
    exchanges.iter().map(|exchange| exchange.request.as_ref().unwrap().path.as_str()).collect()
}
