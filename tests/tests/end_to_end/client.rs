//! Asks a collector by gRPC, as a user's program would.

use std::collections::BTreeMap;

use tap_proto::v1::{
    AgentLedger, Amount, Exchange, GetLedgerRequest, GetRequest, Order, SearchRequest, TargetLedger,
    capture_service_client::CaptureServiceClient, ledger_service_client::LedgerServiceClient,
};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// A blocking client: a scenario is a sequence.
#[derive(Debug)]
pub(crate) struct Client {
    runtime: Runtime,
    channel: Channel,
}

/// What a ledger says of all targets and epochs together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) seen_bytes: u64,
    pub(crate) assembled: u64,
    pub(crate) stored: Sum,
    pub(crate) pending: Sum,
    pub(crate) lost: Sum,
    /// By `stage/reason`.
    pub(crate) losses: BTreeMap<String, Sum>,
    /// Counted in the table.
    pub(crate) in_table: Sum,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) exchanges: u64,
    pub(crate) bytes: u64,
}

impl Client {
    /// Of the collector at `url`. Connects when it is first asked, and again after the collector was away.
    pub(crate) fn new(url: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
        let channel = runtime.block_on(async { endpoint.connect_lazy() });
        Self { runtime, channel }
    }

    /// Every exchange that matches, oldest first, over as many pages as it takes.
    pub(crate) fn search(&self, filter: &str) -> Vec<Exchange> {
        self.try_search(filter).unwrap_or_else(|status| panic!("search {filter:?}: {status}"))
    }

    pub(crate) fn try_search(&self, filter: &str) -> Result<Vec<Exchange>, tonic::Status> {
        self.pages(filter, false)
    }

    /// The same without headers and bodies: for large numbers.
    pub(crate) fn summaries(&self, filter: &str) -> Result<Vec<Exchange>, tonic::Status> {
        self.pages(filter, true)
    }

    fn pages(&self, filter: &str, summary: bool) -> Result<Vec<Exchange>, tonic::Status> {
        let mut captures = CaptureServiceClient::new(self.channel.clone());
        let mut request = SearchRequest {
            filter: filter.to_owned(),
            order: Order::OldestFirst.into(),
            page_size: 1000,
            summary,
            ..SearchRequest::default()
        };
        self.runtime.block_on(async {
            let mut exchanges = Vec::new();
            loop {
                let page = captures.search(request.clone()).await?.into_inner();
                exchanges.extend(page.exchanges);
                if page.next_page_token.is_empty() {
                    return Ok(exchanges);
                }
                request.page_token = page.next_page_token;
            }
        })
    }

    pub(crate) fn get(&self, id: &str) -> Result<Exchange, tonic::Status> {
        let mut captures = CaptureServiceClient::new(self.channel.clone());
        let request = GetRequest { id: id.to_owned() };
        self.runtime.block_on(async { captures.get(request).await }).map(tonic::Response::into_inner)
    }

    pub(crate) fn ledgers(&self) -> Result<Vec<AgentLedger>, tonic::Status> {
        let mut ledgers = LedgerServiceClient::new(self.channel.clone());
        let response =
            self.runtime.block_on(async { ledgers.get_ledger(GetLedgerRequest::default()).await })?;
        Ok(response.into_inner().agents)
    }

    /// The ledgers of all agents and targets, added up.
    pub(crate) fn totals(&self) -> Result<Totals, tonic::Status> {
        self.totals_of(|_| true)
    }

    /// The same of some targets; what is counted in the table is always of all.
    pub(crate) fn totals_of(&self, chosen: impl Fn(&str) -> bool) -> Result<Totals, tonic::Status> {
        let mut totals = Totals::default();
        for agent in self.ledgers()? {
            totals.in_table += agent.in_table.as_ref().into();
            let targets = agent.ledger.iter().flat_map(|ledger| &ledger.targets);
            for target in targets.filter(|target| chosen(&target.target)) {
                totals.add(target);
            }
        }
        Ok(totals)
    }
}

impl Totals {
    fn add(&mut self, target: &TargetLedger) {
        let TargetLedger { target: _, seen, assembled, stored, pending, losses, policies: _, coverage: _ } =
            target;
        self.seen_bytes += Sum::from(seen.as_ref()).bytes;
        self.assembled += Sum::from(assembled.as_ref()).exchanges;
        self.stored += stored.as_ref().into();
        self.pending += pending.as_ref().into();
        for loss in losses {
            let sum = Sum::from(loss.amount.as_ref());
            self.lost += sum;
            *self.losses.entry(format!("{}/{}", loss.stage, loss.reason)).or_default() += sum;
        }
    }

    /// The two identities, and that the agent's account is the table's.
    pub(crate) fn assert_balanced(&self) {
        let Self { seen_bytes, assembled, stored, pending, lost, losses: _, in_table } = self;
        assert_eq!(*seen_bytes, stored.bytes + pending.bytes + lost.bytes, "bytes do not balance: {self:#?}");
        assert_eq!(
            *assembled,
            stored.exchanges + pending.exchanges + lost.exchanges,
            "exchanges do not balance: {self:#?}"
        );
        assert_eq!(in_table, stored, "the table holds something else than the agents count: {self:#?}");
    }
}

impl From<Option<&Amount>> for Sum {
    fn from(amount: Option<&Amount>) -> Self {
        amount.map(|amount| Self { exchanges: amount.exchanges, bytes: amount.bytes }).unwrap_or_default()
    }
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.exchanges += other.exchanges;
        self.bytes += other.bytes;
    }
}

/// `GET /path?query 200` of an exchange.
pub(crate) fn line(exchange: &Exchange) -> String {
    let request = exchange.request.clone().unwrap_or_default();
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let status = exchange.response.as_ref().map_or(0, |response| response.status);
    format!("{} {}{query} {status}", request.method, request.path)
}
