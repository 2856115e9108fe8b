//! The admin port of a mock, apart from what it answers as the recorded server.
//!
//! | route         | answer                                                                   |
//! |---------------|--------------------------------------------------------------------------|
//! | `GET /stats`  | 200, what was counted, as JSON                                           |
//! | `GET /misses` | 200, the kinds of misses, the most frequent first, with what differs     |
//! | `GET /metrics`| 200, the counts in the OpenMetrics text format                           |
//! | `GET /ready`  | 200 once everything is loaded and the sockets are bound, 503 before      |
//! | `GET /live`   | 200                                                                      |
//! | `POST /reset` | 200 after every sequence of answers was set to its beginning             |
//!
//! There is no authentication. No answer has a captured value; paths are templates, places are names.

use std::{
    convert::Infallible,
    fmt::Write as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, time};
use tokio_util::sync::CancellationToken;

use super::{Mock, Statistics};

/// Probes, a scraper, a person or two.
const MAX_CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const ROUTES: &str = "GET /stats /misses /metrics /ready /live, POST /reset\n";

/// The mock, once it is ready.
pub type Slot = Arc<OnceLock<Arc<Mock>>>;

/// Serves until `stop` is cancelled.
pub async fn serve(slot: Slot, socket: TcpListener, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let slot = Arc::clone(&slot);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer(slot.get().map(AsRef::as_ref), request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        let stop = stop.clone();
        tokio::spawn(async move {
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let _ = stop.run_until_cancelled(serving).await;
            drop(place);
        });
    }
}

fn answer(mock: Option<&Mock>, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match (path, mock) {
        ("/live", _) if is_read => text(StatusCode::OK, "live\n"),
        ("/ready", Some(_)) if is_read => text(StatusCode::OK, "ready\n"),
        ("/stats", Some(mock)) if is_read => json(&json!(mock.statistics())),
        ("/misses", Some(mock)) if is_read => {
            let (misses, others) = mock.misses();
            json(&json!({"misses": misses, "others": others}))
        }
        ("/metrics", Some(mock)) if is_read => {
            let mut answer = text(StatusCode::OK, metrics(&mock.statistics()));
            let open_metrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(open_metrics));
            answer
        }
        ("/reset", Some(mock)) if *method == Method::POST => {
            mock.restart_sequences();
            text(StatusCode::OK, "every sequence is at its beginning\n")
        }
        ("/ready" | "/stats" | "/misses" | "/metrics" | "/reset", None) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "loading\n")
        }
        ("/ready" | "/live" | "/stats" | "/misses" | "/metrics" | "/reset", _) => {
            text(StatusCode::METHOD_NOT_ALLOWED, ROUTES)
        }
        _ => text(StatusCode::NOT_FOUND, ROUTES),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, format!("{value:#}\n"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn metrics(statistics: &Statistics) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, samples: &[(String, u64)]| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}_total{labels} {value}");
        }
    };
    let mut results = vec![
        (r#"{result="hit"}"#.to_owned(), statistics.hits),
        (r#"{result="passthrough"}"#.to_owned(), statistics.passed_through),
        (r#"{result="passthrough_failed"}"#.to_owned(), statistics.not_passed_through),
    ];
    let of_reason =
        |(reason, count): (&&str, &u64)| (format!("{{result=\"miss\",reason=\"{reason}\"}}"), *count);
    results.extend(statistics.misses.iter().map(of_reason));
    family("podtap_mock_requests", "Requests by what became of them.", &results);
    let faults: Vec<_> = statistics
        .faults
        .iter()
        // A rule's name is a person's; what a label can't hold is escaped by Debug as the format wants it.
        .map(|fault| (format!("{{rule={:?},kind={:?}}}", fault.rule, fault.kind), fault.count))
        .collect();
    family("podtap_mock_faults", "Faults on purpose.", &faults);
    family(
        "podtap_mock_recorded_exchanges",
        "Passed through and recorded.",
        &[(String::new(), statistics.recorded)],
    );
    let not_recorded: Vec<_> = statistics
        .not_recorded
        .iter()
        .map(|(reason, count)| (format!("{{reason=\"{reason}\"}}"), *count))
        .collect();
    family("podtap_mock_not_recorded_exchanges", "Passed through and not recorded.", &not_recorded);
    text + "# EOF\n"
}
