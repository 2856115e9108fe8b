//! A mock in this process, and clients that see every byte of its answers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tap_proto::v1::{
    Body, Completeness, Exchange, Header, Request, Response, Timing, body::Content, completeness::State,
};
use tap_replay::{
    chaos::{self, Chaos},
    mock::{
        Index, Limits, Matching, Mock, Settings, Upstream,
        server::{self, Bound},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time,
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends when dropped.
pub(crate) struct Served {
    pub(crate) mock: Arc<Mock>,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) recorded: mpsc::Receiver<Exchange>,
}

/// What a mock is made of.
#[derive(Default)]
pub(crate) struct Recipe {
    pub(crate) matching: Matching,
    pub(crate) settings: Settings,
    pub(crate) chaos: Option<&'static str>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) host: Option<String>,
}

impl Recipe {
    pub(crate) async fn serve(self, exchanges: impl IntoIterator<Item = Exchange>) -> Served {
        let Self { matching, settings, chaos, upstreams, host } = self;
        let mut index = Index::new(matching, Limits::default());
        for exchange in exchanges {
            assert!(index.insert(exchange));
        }
        let chaos = chaos.map(|yaml| {
            Chaos::new(&chaos::Settings::parse(yaml).unwrap(), Some(7), chaos::Side::Server).unwrap()
        });
        let (exchange_tx, recorded) = mpsc::channel(16);
        let mock = Arc::new(Mock::new(index, settings, chaos, upstreams, "mock-1", Some(exchange_tx)));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let stop = CancellationToken::new();
        let bound = vec![Bound { socket, host }];
        let serving = tokio::spawn(server::serve(Arc::clone(&mock), bound, stop.clone()));
        Served { mock, address, stop, serving, recorded }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Sends `request` and reads until the server closes; what came, and whether the end was an orderly one.
pub(crate) async fn raw(address: SocketAddr, request: &str) -> (String, bool) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A server that has read enough may close before it has read all.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut received = Vec::new();
        let ended = stream.read_to_end(&mut received).await.is_ok();
        (String::from_utf8_lossy(&received).into_owned(), ended)
    };
    time::timeout(PATIENCE, exchange).await.expect("the server ends the connection")
}

/// One request on a connection of its own: head and body of the answer.
pub(crate) async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let (head, rest) = request.split_once("\r\n").unwrap_or((request, ""));
    let (received, _) = raw(address, &format!("{head}\r\nConnection: close\r\n{rest}\r\n")).await;
    let (head, body) = received.split_once("\r\n\r\n").unwrap_or((&received, ""));
    (head.to_ascii_lowercase(), body.to_owned())
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n")).await
}

pub(crate) async fn post(address: SocketAddr, path: &str, body: &str) -> (String, String) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nConnection: close\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let (received, _) = raw(address, &head).await;
    let (head, body) = received.split_once("\r\n\r\n").unwrap_or((&received, ""));
    (head.to_ascii_lowercase(), body.to_owned())
}

/// A complete exchange, recorded in the `second`th second.
pub(crate) fn recorded(
    second: i64,
    request: &str,
    status: u32,
    headers: &[(&str, &str)],
    body: &str,
) -> Exchange {
    let complete = || Some(Completeness { state: State::Complete.into(), ..Completeness::default() });
    let content = |text: &str| {
        (!text.is_empty()).then(|| Body {
            content: Some(Content::Text(text.into())),
            size: text.len() as u64,
            ..Body::default()
        })
    };
    let fields = |fields: &[(&str, &str)]| {
        let field = |(name, value): &(&str, &str)| Header {
            name: (*name).into(),
            value: (*value).into(),
            ..Header::default()
        };
        fields.iter().map(field).collect()
    };
    let mut words = request.splitn(3, ' ');
    let (method, target, sent) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Exchange {
        id: format!("00000000-{second:04}"),
        time: Some(prost_types::Timestamp { seconds: second, nanos: 0 }),
        timing: Some(Timing { request_end_ns: 1_000, response_start_ns: 50_001_000, ..Timing::default() }),
        request: Some(Request {
            method: method.into(),
            host: "pay.example".into(),
            path: path.into(),
            query: query.into(),
            headers: fields(&[("Content-Type", "application/json")]),
            body: content(sent),
            completeness: complete(),
            ..Request::default()
        }),
        response: Some(Response {
            status,
            headers: fields(headers),
            body: content(body),
            completeness: complete(),
            ..Response::default()
        }),
        ..Exchange::default()
    }
}
