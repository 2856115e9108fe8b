//! A collector that keeps its table in memory, and dies when told to.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tap_proto::v1::{
    self,
    ingest_request::Message as Request,
    ingest_response::Message as Response,
    ingest_service_server::{IngestService, IngestServiceServer},
};
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc, time::sleep};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Status, Streaming, codec::CompressionEncoding, transport::Server};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Acknowledge,
    /// Stores and does not tell.
    StoreSilently,
    /// Takes batches and stores nothing.
    Forget,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) exchanges: HashMap<String, v1::Exchange>,
    /// Exchanges that were stored though they were there.
    pub(super) repeated: usize,
    pub(super) batches_seen: usize,
    pub(super) ledger: Option<v1::Ledger>,
    durable: HashMap<(String, u64), u64>,
}

#[derive(Clone)]
struct Service {
    table: Arc<Mutex<Table>>,
    behaviour: Arc<Mutex<Behaviour>>,
}

pub(super) struct FakeCollector {
    address: SocketAddr,
    service: Service,
    /// Of its own, so that killing it ends its connections.
    runtime: Option<Runtime>,
}

impl FakeCollector {
    pub(super) async fn start() -> Self {
        let service =
            Service { table: Arc::default(), behaviour: Arc::new(Mutex::new(Behaviour::Acknowledge)) };
        let mut collector = Self { address: ([127, 0, 0, 1], 0).into(), service, runtime: None };
        collector.restart().await;
        collector
    }

    pub(super) async fn restart(&mut self) {
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = IngestServiceServer::new(self.service.clone())
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd);
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            Server::builder().add_service(service).serve_with_incoming(incoming).await
        });
        self.runtime = Some(runtime);
    }

    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waits: its port must be free when this returns.
            tokio::task::block_in_place(|| runtime.shutdown_timeout(Duration::from_secs(10)));
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        *self.service.behaviour.lock().unwrap() = behaviour;
    }

    pub(super) fn table(&self) -> Table {
        self.service.table.lock().unwrap().clone()
    }

    pub(super) async fn until(&self, condition: impl Fn(&Table) -> bool) {
        let start = Instant::now();
        while !condition(&self.table()) {
            assert!(
                start.elapsed() < super::PATIENCE,
                "did not happen: {} exchanges",
                self.table().exchanges.len()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for FakeCollector {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tonic::async_trait]
impl IngestService for Service {
    type IngestStream = ReceiverStream<Result<v1::IngestResponse, Status>>;

    async fn ingest(
        &self,
        request: tonic::Request<Streaming<v1::IngestRequest>>,
    ) -> Result<tonic::Response<Self::IngestStream>, Status> {
        let (response_tx, response_rx) = mpsc::channel(16);
        let service = self.clone();
        tokio::spawn(async move { service.serve(request.into_inner(), response_tx).await });
        Ok(tonic::Response::new(ReceiverStream::new(response_rx)))
    }
}

impl Service {
    async fn serve(
        self,
        mut requests: Streaming<v1::IngestRequest>,
        response_tx: mpsc::Sender<Result<v1::IngestResponse, Status>>,
    ) {
        let mut agent = None;
        while let Ok(Some(request)) = requests.message().await {
            let response = match request.message {
                Some(Request::Hello(hello)) => {
                    let key = (hello.agent, hello.epoch);
                    let durable_sequence = self.table.lock().unwrap().durable.get(&key).copied().unwrap_or(0);
                    agent = Some(key);
                    Some(Response::Welcome(v1::Welcome { durable_sequence }))
                }
                Some(Request::Batch(batch)) => {
                    let sequence = batch.sequence;
                    let behaviour = *self.behaviour.lock().unwrap();
                    let mut table = self.table.lock().unwrap();
                    table.batches_seen += 1;
                    if behaviour != Behaviour::Forget {
                        table.store(agent.as_ref().unwrap(), batch);
                    }
                    (behaviour == Behaviour::Acknowledge).then_some(Response::Acknowledgement(
                        v1::Acknowledgement { durable_sequence: sequence },
                    ))
                }
                Some(Request::Ledger(ledger)) => {
                    self.table.lock().unwrap().ledger = Some(ledger);
                    None
                }
                None => None,
            };
            if let Some(message) = response {
                let _ = response_tx.send(Ok(v1::IngestResponse { message: Some(message) })).await;
            }
        }
    }
}

impl Table {
    fn store(&mut self, agent: &(String, u64), batch: v1::Batch) {
        let durable = self.durable.entry(agent.clone()).or_default();
        if batch.sequence <= *durable {
            return;
        }
        *durable = batch.sequence;
        for exchange in batch.exchanges {
            if self.exchanges.insert(exchange.id.clone(), exchange).is_some() {
                self.repeated += 1;
            }
        }
    }
}
