//! Collectors on one table, and what is asked of any of them.

use podtap_tests::{Collector, S3Server};
use tap_proto::v1::{Exchange, Order, SearchRequest, capture_service_client::CaptureServiceClient};
use tempfile::TempDir;
use tonic::{Status, transport::Channel};

/// Commits are due soon, so that there are many of them.
pub(crate) const QUICK: &str = "commit: {interval: 100ms}\n";

/// A collector with a directory of its own for its log.
pub(crate) struct Replica {
    // Before the directory, where its log is.
    pub(crate) collector: Collector,
    _directory: TempDir,
}

impl Replica {
    /// On the table `table` of the bucket.
    pub(crate) fn start(server: &S3Server, table: &str, lines: &str) -> Self {
        Self::start_on(&server.url(table), server.environment(), lines)
    }

    pub(crate) fn start_on(store: &str, environment: Vec<(String, String)>, lines: &str) -> Self {
        let directory = TempDir::with_prefix("podtap-replica-").unwrap();
        let collector = Collector::start_on(directory.path(), store, environment, lines).unwrap();
        Self { collector, _directory: directory }
    }

    pub(crate) fn url(&self) -> String {
        self.collector.url()
    }

    /// The value of a metric with its labels, as `name{label="value"}`.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.collector.admin("/metrics").ok()?;
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Whether the log has a warning that says all of this.
    pub(crate) fn warned(&self, words: &[&str]) -> bool {
        let log = self.collector.log();
        log.lines().any(|line| line.contains("WARN") && words.iter().all(|word| line.contains(word)))
    }
}

pub(crate) async fn connect(url: &str) -> Result<Channel, Status> {
    let endpoint = Channel::from_shared(url.to_owned()).unwrap();
    endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))
}

/// The ids of everything that a collector finds, oldest first.
pub(crate) async fn found(url: &str) -> Result<Vec<Exchange>, Status> {
    let mut captures = CaptureServiceClient::new(connect(url).await?);
    let mut request = SearchRequest {
        order: Order::OldestFirst.into(),
        page_size: 1000,
        summary: true,
        ..SearchRequest::default()
    };
    let mut exchanges = Vec::new();
    loop {
        let page = captures.search(request.clone()).await?.into_inner();
        exchanges.extend(page.exchanges);
        if page.next_page_token.is_empty() {
            return Ok(exchanges);
        }
        request.page_token = page.next_page_token;
    }
}
