//! The connection to the collector, or to the table in its place, and errors that say what to do.

use std::{error::Error as _, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::{Stream, stream};
use tap_proto::v1::{
    SearchRequest, SearchResponse, capture_service_client::CaptureServiceClient,
    ingest_service_client::IngestServiceClient, ledger_service_client::LedgerServiceClient,
    mirror_service_client::MirrorServiceClient, replay_service_client::ReplayServiceClient,
};
use tokio::time::{self, Instant};
use tonic::{
    Code, Request, Status,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};
use url::Url;

/// A page of a search is at most 3 MiB, but one exchange with large bodies may be more.
const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// Between attempts to reach a collector that has gone.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Where captures are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) collector: String,
    /// Read in place of a collector.
    pub(crate) store: Option<Url>,
    pub(crate) timeout: Duration,
}

/// A collector that answered, or a table that is read in its place.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    channel: Channel,
    timeout: Duration,
}

impl Source {
    pub(crate) async fn connect(&self) -> Result<Collector> {
        match &self.store {
            Some(store) => {
                let channel = tap_collector::read_table(store).await?;
                Ok(Collector { channel, timeout: self.timeout })
            }
            None => Collector::connect(&self.collector, self.timeout).await,
        }
    }
}

impl Collector {
    /// Connects to `url`. Each call is given `timeout`, streams are not.
    async fn connect(url: &str, timeout: Duration) -> Result<Self> {
        if url.starts_with("https:") {
            bail!("collector {url}: https is not supported yet");
        }
        let endpoint = Endpoint::from_shared(url.to_owned())
            .with_context(|| format!("collector {url}: not a URL; for example http://127.0.0.1:7070"))?;
        let connected = endpoint.connect_timeout(timeout).tcp_nodelay(true).connect().await;
        let channel = connected.map_err(|error| {
            anyhow!(
                "cannot reach the collector at {url}: {cause}
  Is it running? `tap-collector` starts one on this machine.
  Is it elsewhere? Name it with --collector URL or PODTAP_COLLECTOR.
  Is it in a cluster? kubectl -n podtap-system port-forward service/podtap-collector 7070",
                cause = root_cause(&error)
            )
        })?;
        Ok(Self { channel, timeout })
    }

    pub(crate) fn captures(&self) -> CaptureServiceClient<Channel> {
        CaptureServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Zstd)
    }

    pub(crate) fn ledgers(&self) -> LedgerServiceClient<Channel> {
        LedgerServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn ingest(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel.clone()).send_compressed(CompressionEncoding::Zstd)
    }

    pub(crate) fn mirrors(&self) -> MirrorServiceClient<Channel> {
        MirrorServiceClient::new(self.channel.clone())
    }

    pub(crate) fn replays(&self) -> ReplayServiceClient<Channel> {
        ReplayServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// A request that must be answered in time.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// All pages of a search, each fetched when the one before it was taken. Once the first page has come, a
    /// collector that goes away is waited for: a replay of an hour should survive its restart.
    pub(crate) fn pages(
        &self,
        search: SearchRequest,
    ) -> impl Stream<Item = Result<SearchResponse, Status>> + Send + use<> {
        let collector = self.clone();
        stream::try_unfold(Some(search), move |search| {
            let collector = collector.clone();
            async move {
                let Some(search) = search else { return Ok(None) };
                let page = collector.page(&search).await?;
                let next = (!page.next_page_token.is_empty())
                    .then(|| SearchRequest { page_token: page.next_page_token.clone(), ..search });
                Ok(Some((page, next)))
            }
        })
    }

    async fn page(&self, search: &SearchRequest) -> Result<SearchResponse, Status> {
        let give_up = Instant::now() + self.timeout;
        loop {
            match self.captures().search(self.request(search.clone())).await {
                Ok(page) => return Ok(page.into_inner()),
                Err(status)
                    if has_gone(&status) && !search.page_token.is_empty() && Instant::now() < give_up =>
                {
                    time::sleep(RETRY).await;
                }
                Err(status) => return Err(status),
            }
        }
    }
}

/// Whether there is nobody to answer any more: the collector says so, or the connection broke.
pub(crate) fn has_gone(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}

/// What a refused or failed call means to its user. `filter` is the condition that was sent, if one was.
pub(crate) fn explain(status: &Status, filter: &str) -> anyhow::Error {
    let message = status.message();
    match status.code() {
        Code::InvalidArgument => match point_at(filter, message) {
            Some(pointed) => anyhow!("{message}\n{pointed}"),
            None => anyhow!("{message}"),
        },
        Code::NotFound | Code::PermissionDenied | Code::FailedPrecondition => anyhow!("{message}"),
        Code::Unavailable => anyhow!("no answer, or not yet: {message}"),
        Code::DeadlineExceeded => {
            anyhow!("the collector did not answer in time; --timeout gives it longer, --since less to do")
        }
        // What tonic says of a deadline that passed on this side.
        Code::Cancelled => anyhow!("cancelled: {message}; --timeout gives the collector longer"),
        Code::Unimplemented => anyhow!("what answers there is not a collector of this version: {message}"),
        code => anyhow!("the collector failed ({code:?}): {message}"),
    }
}

/// The line of `filter` that `message` speaks of ("line 1, column 5"), with a caret below the column.
fn point_at(filter: &str, message: &str) -> Option<String> {
    let line = number_after(message, "line ")?;
    let column = number_after(message, "column ")?;
    let text = filter.lines().nth(line.checked_sub(1)?)?;
    let before: String = text
        .chars()
        .take(column.checked_sub(1)?)
        // A tab keeps its width above and below.
        .map(|character| if character == '\t' { '\t' } else { ' ' })
        .collect();
    Some(format!("  {text}\n  {before}^"))
}

fn number_after(text: &str, word: &str) -> Option<usize> {
    let rest = &text[text.find(word)? + word.len()..];
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn root_cause(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caret_stands_below_the_column() {
        let status = Status::invalid_argument("filter: line 2, column 4: no such variable: rol");
        let explained = explain(&status, "true &&\n\t (rol == 1)").to_string();
        assert_eq!(explained, "filter: line 2, column 4: no such variable: rol\n  \t (rol == 1)\n  \t  ^");
    }

    #[test]
    fn a_position_outside_the_filter_is_not_pointed_at() {
        for message in ["line 9, column 1: x", "line 0, column 0: x", "column 3", "page_size"] {
            assert_eq!(explain(&Status::invalid_argument(message), "true").to_string(), message);
        }
    }
}
